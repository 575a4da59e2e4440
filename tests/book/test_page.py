"""The built book as its readers meet it: in a browser, by keyboard, on a phone, in the dark, and without a network."""

import re
import shutil
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from playwright.sync_api import sync_playwright

BOOK = Path(__file__).parents[2] / "book"
HTML = BOOK / "_build/html"
AXE = BOOK / "node_modules/axe-core/axe.min.js"
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def listed(entries):
    """The files that a table of contents lists, those of sections too."""
    return [file for entry in entries for file in (entry["file"], *listed(entry.get("sections", [])))]


TOC = yaml.safe_load((BOOK / "_toc.yml").read_text())
PAGES = [TOC["root"], *(file for part in TOC["parts"] for file in listed(part["chapters"])), "search", "genindex"]
CHAPTERS = [name for name in PAGES if name.startswith("notebooks/")]
LOCAL = ("file:", "data:", "blob:", "about:")
HANDLES = ".cell_output [role=slider]"

pytestmark = [
    pytest.mark.skipif(not (HTML / "index.html").is_file(), reason="the book is not built: make book"),
    pytest.mark.skipif(BROWSER is None, reason="there is no Chromium to open the book with"),
    pytest.mark.skipif(not AXE.is_file(), reason="npm's packages are not installed: make env with npm"),
]
of_chapters = pytest.mark.parametrize("page", CHAPTERS, indirect=True, scope="module")


@pytest.fixture(scope="module")
def browser():
    """One browser without a network for all tests."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND"]
        browser = playwright.chromium.launch(executable_path=BROWSER, args=arguments)
        yield browser
        browser.close()


@contextmanager
def visit(browser, name):
    """Open a page of the book; what goes wrong there is collected in the list `page.troubles`."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = context.new_page()
    page.name, page.troubles = name, []
    page.on("pageerror", lambda error: page.troubles.append(f"script error: {error}"))
    page.on("console", lambda m: page.troubles.append(f"console: {m.text}") if m.type == "error" else None)
    page.on("requestfailed", lambda request: page.troubles.append(f"failed: {request.url[:200]}"))
    page.on("request", lambda r: None if r.url.startswith(LOCAL) else page.troubles.append(f"outside: {r.url}"))
    page.goto((HTML / f"{name}.html").as_uri(), wait_until="load")
    if name in CHAPTERS:
        page.wait_for_selector(HANDLES, timeout=30_000)
        page.wait_for_selector(f"{HANDLES}[aria-label]", timeout=5_000)
    # Icons and formulas are drawn after loading; nothing tells when the last of them is done.
    page.wait_for_timeout(400)
    yield page
    context.close()


@pytest.fixture(scope="module", params=PAGES)
def page(browser, request):
    """A page that all its tests share, one after the other: opening it takes longer than most of them."""
    with visit(browser, request.param) as page:
        yield page


@pytest.fixture
def width(page):
    """A function that gives the shared page another width for one test."""
    yield lambda pixels: page.set_viewport_size({"width": pixels, "height": 900})
    page.set_viewport_size({"width": 1280, "height": 900})


def test_page_loads_whole_without_any_other_host(page):
    assert page.troubles == []
    sources = page.eval_on_selector_all(
        "script[src], link[href], img[src], iframe[src]", "all => all.map(e => e.src || e.href)"
    )
    assert [source[:200] for source in sources if not source.startswith(LOCAL)] == []
    assert page.eval_on_selector_all("img", "all => all.filter(e => !e.alt.trim()).map(e => e.src.slice(0, 200))") == []
    broken = "all => all.filter(e => e.complete && !e.naturalWidth && e.offsetParent).map(e => e.src.slice(0, 200))"
    assert page.eval_on_selector_all("img", broken) == []


@cache
def anchors(file):
    """The places in a page that links may lead to; None where there is no such page."""
    if not file.is_file():
        return None
    return set(re.findall(r"""\b(?:id|name)=["']([^"']+)["']""", file.read_text(errors="replace")))


def test_internal_links_lead_somewhere(page):
    links = set(page.eval_on_selector_all("a[href]", "all => all.map(e => e.href)"))
    parts = {link: urlsplit(link) for link in links if link.startswith("file:")}
    assert len(parts) > 10
    missing = []
    for link, part in parts.items():
        there, anchor = anchors(Path(unquote(part.path))), unquote(part.fragment)
        if there is None or (anchor and anchor not in there):
            missing.append(link)
    assert missing == []


def shown(handle):
    """The pictures that are visible at this moment in the output around a slider's handle."""
    return handle.evaluate(
        "e => [...e.closest('.cell_output').querySelectorAll('img')].filter(i => i.offsetParent).map(i => i.src).join()"
    )


@of_chapters
def test_every_slider_moves_its_frames_by_keyboard(page):
    handles = page.locator(HANDLES)
    assert handles.count() > 0
    unmoved = []
    for k in range(handles.count()):
        handle = handles.nth(k)
        label = handle.get_attribute("aria-label")
        assert label
        assert "null" not in label
        before, value = shown(handle), handle.get_attribute("aria-valuetext")
        handle.focus()
        at_end = float(handle.get_attribute("aria-valuenow")) >= float(handle.get_attribute("aria-valuemax"))
        page.keyboard.press("ArrowLeft" if at_end else "ArrowRight")
        page.wait_for_timeout(150)
        assert handle.get_attribute("aria-valuetext") != value, f"slider {k} ({label}) does not say its value"
        if shown(handle) == before:
            unmoved.append(f"slider {k} ({label})")
    assert unmoved == []
    assert page.troubles == []


@of_chapters
def test_outputs_are_drawn_and_set_not_written_out(page):
    assert page.locator(".cell_output img.frame").count() > 3
    texts = page.eval_on_selector_all(".cell_output", "all => all.map(e => e.innerText)")
    raw = [text[:80] for text in texts if re.search(r"<Figure|<matplotlib|\|\s*:?-{3,}|<IPython|object at 0x", text)]
    assert raw == []
    short = "all => all.filter(e => e.alt.trim().split(' ').length < 5).map(e => e.alt)"
    assert page.eval_on_selector_all(".cell_output img.frame", short) == []


@of_chapters
def test_code_fits_its_column_on_a_wide_screen(page, width):
    width(1400)
    wide = (
        "all => all.filter(e => e.offsetParent && e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 60))"
    )
    assert page.eval_on_selector_all(".cell_input pre", wide) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_violation(page, scheme):
    page.emulate_media(color_scheme=scheme)
    page.wait_for_function(f"document.documentElement.dataset.theme == '{scheme}'")
    page.wait_for_function("document.getAnimations().every(a => a.playState != 'running')")  # colours on their way
    page.evaluate(AXE.read_text())
    # axe would ask for the style sheets once more, which a page may not where it is opened from a file.
    found = page.evaluate("axe.run(document, {resultTypes: ['violations'], preload: false})")["violations"]
    serious = [
        f"{v['id']}: {n['html'][:200]}" for v in found if v["impact"] in ("serious", "critical") for n in v["nodes"]
    ]
    assert serious == []


def test_page_fits_a_phone(page, width):
    width(390)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    wide = "all => all.filter(e => e.offsetParent && e.getBoundingClientRect().right > 391).map(e => e.alt)"
    assert page.eval_on_selector_all(".jupyter-widgets img", wide) == []


@pytest.mark.parametrize("page", ["notebooks/02_class_treatment"], indirect=True, scope="module")
def test_a_film_plays_to_its_end_without_a_kernel(page):
    film = page.locator(".film").first
    handle = film.locator("[role=slider]")
    handle.focus()
    page.keyboard.press("Home")
    page.wait_for_timeout(200)
    seen = {handle.get_attribute("aria-valuetext"): shown(handle)}
    play = film.locator("button").first
    assert play.get_attribute("aria-label")
    play.click()
    for _ in range(60):
        page.wait_for_timeout(150)
        seen[handle.get_attribute("aria-valuetext")] = shown(handle)
        if handle.get_attribute("aria-valuenow") == handle.get_attribute("aria-valuemax"):
            break
    assert float(handle.get_attribute("aria-valuenow")) == float(handle.get_attribute("aria-valuemax"))
    assert len(set(seen.values())) >= len(seen) - 1 >= 4
    assert page.troubles == []


@pytest.mark.parametrize("page", ["book/replication-report"], indirect=True, scope="module")
def test_report_is_filtered_and_sorted_in_the_page(page):
    rows = page.locator(".report tbody tr")
    everything = rows.count()
    assert everything > 10
    first = rows.first.inner_text()
    page.select_option("select[data-filter=verdict]", "reproduced")
    visible = page.locator(".report tbody tr:visible")
    assert 0 < visible.count() < everything
    assert all("not reproduced" not in text for text in visible.all_inner_texts())
    assert page.locator(".report-filters [role=status]").inner_text() == f"{visible.count()} of {everything} verdicts"
    page.select_option("select[data-filter=verdict]", "")
    button = page.locator("button[data-sort=rank]")
    for direction in ("ascending", "descending"):
        button.focus()
        page.keyboard.press("Enter")
        assert page.locator(f"th[aria-sort={direction}]").inner_text().startswith("verdict")
        ranks = page.eval_on_selector_all(".report tbody tr", "all => all.map(r => Number(r.dataset.rank))")
        assert ranks == sorted(ranks, reverse=direction == "descending")
    page.locator("button[data-sort=id]").click()
    assert rows.first.inner_text() == first
    assert page.troubles == []
