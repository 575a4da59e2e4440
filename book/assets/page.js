// Small repairs to the built page, loaded on every page before the theme's and the widgets' scripts.
"use strict";

// The theme's icon script must leave the icons of widgets alone: replacing them under a Play button stops it.
window.FontAwesomeConfig = { observeMutations: false };

// Widgets typeset their labels through the queue of MathJax 2; hand the elements to MathJax 3 instead.
if (window.MathJax) {
  const hub = {
    Queue: (job) => {
      const ready = window.MathJax.startup?.promise ?? Promise.resolve();
      ready.then(() => window.MathJax.typesetPromise?.([job[2]]));
    },
  };
  const startup = window.MathJax.startup ?? {};
  window.MathJax.Hub = hub; // until MathJax 3 has loaded; its own object then takes the place of this one
  window.MathJax.startup = {
    ...startup,
    ready: () => {
      window.MathJax.startup.defaultReady();
      window.MathJax.Hub = hub;
    },
  };
}

// Names and values of sliders and buttons for those who hear the page, from the texts beside them.
function nameControls() {
  for (const box of document.querySelectorAll(".widget-inline-hbox, .jupyter-widgets.widget-play")) {
    const label = box.querySelector(".widget-label");
    const name = label?.textContent.trim() || "Slider";
    if (label?.title === "null") label.removeAttribute("title"); // what a widget without a tooltip writes
    const readout = box.querySelector(".widget-readout");
    for (const handle of box.querySelectorAll('[role="slider"], .noUi-handle')) {
      setAttribute(handle, "aria-label", name);
      if (readout) setAttribute(handle, "aria-valuetext", readout.textContent.trim());
    }
    if (readout?.isContentEditable) {
      setAttribute(readout, "role", "textbox");
      setAttribute(readout, "aria-label", `${name}: value`);
    }
    for (const input of box.querySelectorAll("input, select, textarea")) {
      if (!input.labels?.length) setAttribute(input, "aria-label", name);
    }
  }
  for (const button of document.querySelectorAll(".widget-play button")) {
    const icon = [...(button.querySelector("i")?.classList ?? [])].find((c) => /^fa-(play|pause|stop|step|repeat|retweet)/.test(c));
    setAttribute(button, "aria-label", button.title || (icon ? icon.slice(3) : "Play"));
  }
}

// What the theme and the bibliography leave unsaid or say twice.
function mendTheme() {
  for (const button of document.querySelectorAll("button.search-button-field")) {
    setAttribute(button, "aria-label", button.innerText.replace(/\s+/g, " ").trim() || "Search");
  }
  for (const icon of document.querySelectorAll(".theme-switch-button svg")) {
    icon.querySelector("title")?.remove();
    setAttribute(icon, "aria-hidden", "true"); // the button around it has the name
  }
  for (const summary of document.querySelectorAll('summary[aria-label="Toggle hidden content"]')) {
    summary.removeAttribute("aria-label"); // it hides the words that everyone else sees
  }
  for (const summary of document.querySelectorAll(".bd-sidenav details > summary")) {
    setAttribute(summary, "aria-label", `Pages below ${summary.parentElement.previousElementSibling.textContent.trim()}`);
  }
  for (const entry of document.querySelectorAll('.citation-list[role="list"] > .citation')) {
    setAttribute(entry, "role", "listitem");
  }
}

// The replication report: sort by a heading, filter by study and verdict. Without this script it is a plain table.
function wakeReport() {
  const box = document.querySelector(".verdicts.report");
  const body = box?.querySelector("tbody");
  if (!body) return;
  const rows = [...body.rows];
  const choose = (label, attribute) => {
    const select = document.createElement("select");
    const values = [...new Set(rows.map((row) => row.dataset[attribute]))];
    select.append(new Option(`every ${label}`, ""), ...values.map((value) => new Option(value, value)));
    select.setAttribute("aria-label", `Show ${label}`);
    select.dataset.filter = attribute;
    return select;
  };
  const bar = document.createElement("div");
  const found = document.createElement("span");
  found.setAttribute("role", "status");
  bar.className = "report-filters";
  const filters = [choose("study", "study"), choose("verdict", "verdict")];
  bar.append(...filters, found);
  box.before(bar);
  const show = () => {
    for (const row of rows) row.hidden = filters.some((f) => f.value && row.dataset[f.dataset.filter] !== f.value);
    found.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} verdicts`;
  };
  for (const filter of filters) filter.addEventListener("change", show);
  show();
  const keys = {
    id: (row) => rows.indexOf(row),
    rank: (row) => Number(row.dataset.rank),
    number: (row) => (row.dataset.number === "" ? Infinity : Number(row.dataset.number)),
  };
  for (const button of box.querySelectorAll("button[data-sort]")) {
    button.addEventListener("click", () => {
      const head = button.closest("th");
      const descending = head.getAttribute("aria-sort") === "ascending";
      for (const other of box.querySelectorAll("th[aria-sort]")) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", descending ? "descending" : "ascending");
      const key = keys[button.dataset.sort];
      const sign = descending ? -1 : 1;
      body.append(...[...rows].sort((a, b) => sign * (key(a) - key(b)) || rows.indexOf(a) - rows.indexOf(b)));
    });
  }
}

// Writing an attribute that has its value already would wake the observer below for ever.
function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

window.addEventListener("DOMContentLoaded", () => {
  let asked = false;
  const observer = new MutationObserver(() => {
    if (asked) return;
    asked = true;
    requestAnimationFrame(() => {
      asked = false;
      nameControls();
      mendTheme();
    });
  });
  observer.observe(document.body, { childList: true, subtree: true, characterData: true });
  nameControls();
  mendTheme();
  wakeReport();
});
