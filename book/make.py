"""Build the book: execute its chapters, stage them with the prose, and let Jupyter Book make the pages.

`make book` and `make outputs` call this file. A chapter is executed again only when something
its result depends on has changed, and the pages in book/_build/html are replaced only by a build that went well.
"""

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "workflow"))  # chapters are jobs like any other

import api_pages
import engine
import execute
import grids
import jobs
import nbformat
import psutil
import yaml
from execute import BuildError

from helpers.files import replacing

CHECKED = "nbval-check-output"
"""Tag of the cells whose output is kept in git and compared by nbval."""

VENDORED = {
    "@jupyter-widgets/html-manager/dist/embed.js": "widgets",
    "@jupyter-widgets/html-manager/dist/embed.js.LICENSE.txt": "widgets",
    "@jupyter-widgets/html-manager/dist/*.woff2": "widgets",
    "mathjax/es5/tex-mml-chtml.js": "mathjax",
    "mathjax/LICENSE": "mathjax",
    "mathjax/es5/output/chtml/fonts/woff-v2/*.woff": "mathjax/output/chtml/fonts/woff-v2",
}
"""npm files a page needs, and their folder below book/assets/vendor."""


@dataclass(frozen=True)
class Chapter:
    """A chapter as this run leaves it.

    Attributes:
        name: of the notebook, without its ending.
        notebook: the executed one.
        record: what its job wrote down: seconds, peak_mib, executed, files.
        fresh: whether it ran just now.
    """

    name: str
    notebook: Path
    record: Mapping[str, Any]
    fresh: bool


def execute_chapters(root: Path, preset: str, names: Sequence[str]) -> list[Chapter]:
    """Execute the chapters whose result is not there, side by side on all cores.

    Args:
        root: the project's folder.
        preset: name of the parameter set.
        names: of the chapters.

    Raises:
        BuildError: a chapter failed; those that did not are kept.
    """
    plan = grids.pages_plan(root, preset, names)
    executed = engine.run(root, plan, cores=engine.cores_here())
    chapters = []
    for job in plan.jobs:
        record = jobs.stored(root, job)
        assert record is not None
        chapters.append(Chapter(job.chapter, job.notebook(root), record, job.name in executed))
    return chapters


def has_vendored(root: Path) -> bool:
    """Whether every npm file the pages need is there."""
    return all(list((root / "book/node_modules").glob(pattern)) for pattern in VENDORED)


def stage(root: Path, chapters: Iterable[Chapter], status: str, source: Path) -> None:
    """Put everything Sphinx reads into the folder `source`, made anew."""
    shutil.rmtree(source, ignore_errors=True)
    unread = shutil.ignore_patterns("_build", "node_modules", "package*.json", ".*")
    shutil.copytree(root / "book", source / "book", ignore=unread)
    (source / "notebooks").mkdir()
    for chapter in chapters:
        page = fold_given(execute.read_notebook(chapter.notebook))
        nbformat.write(page, source / "notebooks" / chapter.notebook.name)  # type: ignore[no-untyped-call]
    config = yaml.safe_load((root / "_config.yml").read_text())
    if has_vendored(root):
        for pattern, folder in VENDORED.items():
            target = source / "book/assets/vendor" / folder
            target.mkdir(parents=True, exist_ok=True)
            for file in (root / "book/node_modules").glob(pattern):
                shutil.copy(file, target)
    else:
        for setting in ("nb_ipywidgets_js", "mathjax_path"):
            config["sphinx"]["config"].pop(setting, None)
    (source / "_config.yml").write_text(yaml.safe_dump(config))
    fill(source / "book/status.md", "<!-- chapters -->", status)
    api_pages.write(root, source / "book/api")
    fill_report(root, source / "book/replication-report.md")
    for measured in benchmarks(root):
        fill(source / "book/performance.md", f"<!-- {measured.stem} -->", measured.read_text())


def fold_given(notebook: Any) -> Any:
    """A notebook whose cell of given parameters, which papermill adds, is folded away on the page like its own."""
    tagged = {tag: cell for cell in notebook.cells for tag in cell.metadata.get("tags", [])}
    declared, given = tagged.get("parameters"), tagged.get("injected-parameters")
    if declared and given and "hide-input" in declared.metadata["tags"]:
        given.metadata = {**declared.metadata, "tags": ["injected-parameters", "hide-input"]}
    return notebook


def benchmarks(root: Path) -> list[Path]:
    """What `make bench` measured last; each file has its place on the performance page, marked by its name."""
    return sorted((root / "benchmarks").glob("*.md"))


def fill_report(root: Path, page: Path) -> None:
    """Put the verdicts on their page, if the book has that page, as the committed results decide them now."""
    if not page.is_file():
        return
    from helpers.evidence import report

    decided = report.load_report(root / "results")
    stems = [path.stem for path in (root / "notebooks").glob("*.ipynb")]
    pages = {stem.partition("_")[2]: f"../notebooks/{stem}.html" for stem in stems}  # 01_weight_norms is weight_norms
    fill(page, "<!-- counts -->", report.counts(decided))
    fill(page, "<!-- verdicts -->", report.as_html(decided, pages))
    fill(page, "<!-- reasons -->", report.reasons(decided, pages))
    fill(page, "<!-- cost -->", "\n".join(report.cost(decided)))


def fill(page: Path, marker: str, text: str) -> None:
    """Replace the `marker` of a staged page, if the book has that page, by `text`."""
    if page.is_file():
        page.write_text(page.read_text().replace(marker, text))


def table(chapters: Iterable[Chapter]) -> str:
    """What the chapters cost, as a table to read in a terminal."""
    chapters = list(chapters)
    width = max([len(c.name) for c in chapters] + [7])
    lines = [f"{'chapter':{width}}  {'seconds':>8}  {'peak MiB':>8}  result"]
    for c in chapters:
        result = "executed now" if c.fresh else f"kept, of {c.record['executed']} UTC"
        lines.append(f"{c.name:{width}}  {c.record['seconds']:8.1f}  {c.record['peak_mib']:8.0f}  {result}")
    return "\n".join(lines)


def status_text(root: Path, chapters: Iterable[Chapter], preset: str) -> str:
    """The same table for the page on how the book was made, and what made it."""
    rows = [
        f"| {{doc}}`../notebooks/{c.name}` | {c.record['seconds']:.1f} | {c.record['peak_mib']:.0f} "
        f"| {c.record['executed']} |"
        for c in chapters
    ]
    memory = psutil.virtual_memory().total / 2**30
    facts = {
        "Preset of parameters": f"`{preset}`",
        "Python": platform.python_version(),
        "PyTorch": installed("torch"),
        "Machine": f"{os.cpu_count()} cores, {memory:.1f} GiB of memory, {processor()}",
        "Commit": commit(root),
        "Pages built": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }
    costs = ["| chapter | seconds | peak MiB | executed (UTC) |", "|:--|--:|--:|:--|", *rows]
    made = [
        "| made with | version or value |",
        "|:--|:--|",
        *(f"| {name} | {value} |" for name, value in facts.items()),
    ]
    return "\n".join([*costs, "", *made])


def installed(package: str) -> str:
    """The installed version of a package."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """The processor's name as the system gives it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (names or [platform.processor() or platform.machine()])[0]


def commit(root: Path) -> str:
    """The commit checked out in `root`, and whether files differ from it."""
    command = ["git", "-C", str(root), "describe", "--always", "--dirty= with local changes", "--abbrev=10"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def pages_key(root: Path, chapters: Iterable[Chapter]) -> str:
    """The hash of everything the pages depend on, besides the moment and commit at which they are built."""
    prose = [f for f in (root / "book").iterdir() if f.is_file() and not f.name.startswith(".")]
    files = [
        root / "_config.yml",
        root / "requirements.txt",
        root / "constraints.txt",
        *sorted(prose),
        *execute.files_below(root / "book/assets"),
        *execute.files_below(root / "helpers", ".py", ".yaml"),
        *execute.files_below(root / "results", ".nc"),
        *benchmarks(root),
    ]
    whole = json.dumps([execute.file_hash(files), has_vendored(root), [c.record["files"] for c in chapters]])
    return hashlib.sha256(whole.encode()).hexdigest()


def build_pages(root: Path, chapters: list[Chapter], preset: str) -> bool:
    """Make the pages in book/_build/html; returns False where they were up to date.

    Raises:
        BuildError: Sphinx stopped or warned; the pages there were stay as they are.
    """
    build = root / "book/_build"
    html, key_file, staging, source = (build / n for n in ("html", "pages.key", "staging", "source"))
    key = pages_key(root, chapters)
    if (html / "index.html").is_file() and key_file.is_file() and key_file.read_text() == key:
        return False
    stage(root, chapters, status_text(root, chapters, preset), source)
    shutil.rmtree(staging, ignore_errors=True)
    print("Jupyter Book: making the pages ...", flush=True)
    command = [str(Path(sys.executable).with_name("jupyter-book")), "build", str(source)]
    command += ["--toc", str(source / "book/_toc.yml"), "--path-output", str(staging), "-W", "-n", "--keep-going"]
    run = subprocess.run(command, capture_output=True, text=True, env=execute.environment(root))
    made = staging / "_build/html"
    if run.returncode or not (made / "index.html").is_file():
        log = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout + run.stderr).splitlines()
        complaints = [line for line in log if re.search(r"WARNING|ERROR|CRITICAL|^\w*Error: .", line)] or log[-40:]
        text = "\n".join(complaints)
        raise BuildError(f"Sphinx does not accept the pages:\n{text}")
    key_file.unlink(missing_ok=True)
    old = build / "html.old"
    shutil.rmtree(old, ignore_errors=True)
    if html.exists():
        os.replace(html, old)
    os.replace(made, html)
    key_file.write_text(key)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(staging, ignore_errors=True)
    return True


def make_book(root: Path, preset: str) -> None:
    """Execute what must be executed, make the pages, and say what it cost and where the book is."""
    chapters = execute_chapters(root, preset, grids.chapter_names(root))
    new = build_pages(root, chapters, preset)
    print(f"\n{table(chapters)}\n")
    if not has_vendored(root):
        print("npm's packages are not installed: the pages load widgets and formulas from public hosts.")
    address = (root / "book/_build/html/index.html").as_uri()
    print(f"The book {'is ready' if new else 'was up to date'}: {address}")


def make_outputs(root: Path) -> None:
    """Keep the outputs of the checked cells, as every notebook writes them with its defaults, in git's copy of it."""
    names = sorted(path.stem for path in (root / "notebooks").glob("*.ipynb"))
    for chapter in execute_chapters(root, grids.QUICK, names):
        kept = keep_checked(execute.read_notebook(chapter.notebook))
        with replacing("notebook", execute.notebook_path(root, chapter.name)) as partial:
            partial.write_text(nbformat.writes(kept) + "\n")  # type: ignore[no-untyped-call]


def keep_checked(notebook: Any) -> Any:
    """Strip a notebook of all outputs but those of the checked cells, and of what changes at every execution.

    Every code cell keeps its execution count, because nbval does not compare a cell that has none.
    """
    for cell in notebook.cells:
        cell.metadata = execute.lasting(cell.metadata)
        if not cell.metadata.get("tags"):
            cell.metadata.pop("tags", None)
        if cell.cell_type == "code" and CHECKED not in cell.metadata.get("tags", []):
            cell.outputs = []
    name = {"display_name": "Python 3", "language": "python", "name": "python3"}
    notebook.metadata = {"kernelspec": name, "language_info": {"name": "python"}}
    return notebook


def main() -> None:
    """Do what the command line asks; a failure is one block of text and exit code 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("target", choices=["book", "outputs"])
    parser.add_argument("--preset", default="quick", help="a folder below notebooks/params")
    arguments = parser.parse_args()
    try:
        if arguments.target == "outputs":
            make_outputs(ROOT)
        else:
            make_book(ROOT, arguments.preset)
    except BuildError as error:
        sys.exit(f"\n{error}\n\nThe pages of the last good build, if there was one, are as they were.")


if __name__ == "__main__":
    main()
