// What makes a page immediate: parameters without a reload, tables that sort where they stand, the reasons of a
// panel over the page, light or dark. Each of the first three is a plain form or link without it.
"use strict";
(() => {
  const AGAIN_MS = 2_000;
  const stream = window.livelake, main = document.querySelector("main");
  const make = (name, properties, ...children) => {
    const made = Object.assign(document.createElement(name), properties);
    made.append(...children);
    return made;
  };
  const isPlain = (event) => !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey || event.button);

  // ---- visits: another URL of this page, put into it as it stands

  const here = () => location.pathname + location.search;
  let shown = here(), visits = 0;

  async function visit(url, push = true) {
    const mine = ++visits;
    main.setAttribute("aria-busy", "true");
    const text = await pageAt(url, () => mine === visits);
    if (mine !== visits) return;
    main.removeAttribute("aria-busy");
    const fresh = new DOMParser().parseFromString(text, "text/html"), part = fresh.querySelector("main");
    if (!part?.querySelector("#controls")) return push ? location.assign(url) : location.reload();
    if (push && here() !== new URL(url, location.href).href.slice(location.origin.length)) history.pushState(null, "", url);
    shown = here();
    document.title = fresh.title;
    for (const scriptless of part.querySelectorAll("noscript")) scriptless.remove();
    prepare(part);
    stream.morph(main, part);
    complained.clear();
    fill(push);
    showConnection(fresh);
    stream.countAges();
    stream.follow(fresh.body.dataset.live);
  }

  // The text of a page, whatever it says. A server that is away, or busy, is asked again.
  async function pageAt(url, isWanted) {
    while (isWanted()) {
      const answer = await fetch(url, { headers: { Accept: "text/html" } }).catch(() => null);
      if (answer && answer.status < 500) return answer.text();
      await new Promise((done) => setTimeout(done, AGAIN_MS));
    }
    return "";
  }

  // Controls show what the server understood, save for the one that is being used.
  function fill(sparingActive) {
    for (const control of document.getElementById("controls").elements) {
      if (sparingActive && control === document.activeElement && control.value !== "") continue;
      if (control.localName === "input") control.value = control.defaultValue;
      if (control.localName === "select") for (const option of control.options) option.selected = option.defaultSelected;
    }
  }

  function showConnection(fresh) {
    const ours = document.getElementById("connection"), theirs = fresh.getElementById("connection");
    if (theirs && !ours) document.querySelector(".bar").append(document.adoptNode(theirs));
    if (ours && !theirs) ours.remove();
  }

  addEventListener("popstate", () => { if (here() !== shown) visit(location.href, false); });

  // ---- parameters

  function ask(form, button) {
    const url = new URL(location.pathname, location.href), looks = new Map();
    for (const control of form.elements) {
      if (!control.name || !control.matches("input:not([type=hidden]), select")) continue;
      const isLeftEmpty = control.value === "" && !control.matches("[type=text], select");
      if (!isLeftEmpty && control.value !== (control.dataset.default ?? "")) url.searchParams.append(control.name, control.value);
    }
    for (const [name, value] of new URLSearchParams(location.search)) if (/\.(sort|page)$/.test(name)) looks.set(name, value);
    if (button?.name) looks.set(button.name, button.value);
    // Other rows, or another order: back to their first page.
    for (const name of [...looks.keys()]) {
      const isOther = button?.name ? name === button.name.replace(/\.sort$/, ".page") && name !== button.name : true;
      if (name.endsWith(".page") && (isOther || looks.get(name) === "1")) looks.delete(name);
    }
    for (const [name, value] of looks) if (value) url.searchParams.append(name, value);
    return url.href;
  }

  const complained = new Set(); // controls whose note is ours, and not the server's

  // A value that is simply not there yet is no mistake: the page says what waits for it.
  function complain(form) {
    for (const control of form.querySelectorAll("input, select")) {
      const note = document.getElementById(`${control.id}-said`), wrong = !control.validity.valid && !control.validity.valueMissing;
      if (!note || !(wrong || complained.has(control))) continue;
      Object.assign(note, { hidden: !wrong, className: "problem", textContent: control.validationMessage });
      control.toggleAttribute("aria-invalid", wrong);
      if (wrong) control.setAttribute("aria-invalid", "true");
      complained[wrong ? "add" : "delete"](control);
    }
    return complained.size === 0;
  }

  function submit(form, button) {
    if (button?.getAttribute("aria-disabled") === "true") return;
    if (complain(form)) visit(ask(form, button));
  }

  document.addEventListener("change", (event) => { if (event.target.form?.id === "controls") submit(event.target.form); });
  document.addEventListener("submit", (event) => {
    if (event.target.id !== "controls") return;
    event.preventDefault();
    submit(event.target, event.submitter);
  });

  // ---- tables that fit on a page: each head knows the order of the rows by its column

  const sorts = new Map(), sent = new Map();

  function arrange(panel) {
    const sort = sorts.get(panel.id), heads = [...panel.querySelectorAll("th[data-order]")];
    const at = heads.findIndex((head) => head.textContent === sort?.column);
    if (at < 0) return;
    const body = heads[at].closest("table").tBodies[0], rows = [...body.rows];
    const isNull = (index) => rows[index].cells[heads[at].cellIndex].classList.contains("null");
    const order = heads[at].dataset.order.split(" ").map(Number);
    const falling = [...order.filter((index) => !isNull(index)).reverse(), ...order.filter(isNull)];
    body.append(...(sort.isFalling ? falling : order).map((index) => rows[index]));
    for (const head of heads) head.removeAttribute("aria-sort");
    heads[at].setAttribute("aria-sort", sort.isFalling ? "descending" : "ascending");
  }

  function sortBy(head) {
    const panel = head.closest(".panel"), column = head.textContent, way = head.getAttribute("aria-sort");
    if (way === "descending") sorts.delete(panel.id);
    else sorts.set(panel.id, { column, isFalling: way === "ascending" });
    const fresh = sent.get(panel.id).cloneNode(true);
    arrange(fresh);
    stream.morph(panel, fresh);
    stream.countAges();
  }

  // ---- what the server sent, on its way into the page

  const said = make("p", { className: "unseen", role: "status" });

  function prepare(root) {
    for (const panel of root.querySelectorAll(".panel")) {
      const before = document.getElementById(panel.id)?.dataset.state, { state } = panel.dataset;
      if (before && before !== state && (state === "stale" || state === "error")) {
        said.textContent = `${panel.querySelector("h2").textContent}: ${panel.querySelector(".message")?.textContent ?? state}`;
      }
      sent.delete(panel.id);
      if (!panel.querySelector("th[data-order]")) continue;
      sent.set(panel.id, panel.cloneNode(true));
      arrange(panel);
    }
  }

  // ---- why

  async function explain(link) {
    const reasons = make("pre", { tabIndex: 0, textContent: "…" }), close = make("button", { type: "button", textContent: "Close" });
    const title = make("h2", { id: "reasons-title", textContent: link.closest(".panel").querySelector("h2").textContent });
    const dialog = make("dialog", { className: "reasons" }, make("header", {}, title, close), reasons);
    dialog.setAttribute("aria-labelledby", title.id);
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
    dialog.addEventListener("close", () => { dialog.remove(); link.focus(); });
    document.body.append(dialog);
    dialog.showModal();
    const answer = await fetch(link.href, { headers: { Accept: "text/plain" } }).catch(() => null);
    const text = answer ? await answer.text() : "The server cannot be reached.";
    // The query comes first in the text; who asks why wants the reasons first.
    const at = text.search(/\n\n(?=(never )?kept: |dropped: |no answer is kept)/);
    reasons.textContent = answer?.ok ? text.slice(at < 0 ? 0 : at).trim() : detailOf(text);
    if (at > 0) dialog.append(make("details", {}, make("summary", { textContent: "The query" }), make("pre", { tabIndex: 0, textContent: text.slice(0, at) })));
  }

  function detailOf(text) {
    try { return JSON.parse(text).detail ?? text; } catch { return text; }
  }

  document.addEventListener("click", (event) => {
    const at = event.target.closest("a.why, a.reset, th[data-order] button");
    if (!at || !isPlain(event)) return;
    event.preventDefault();
    if (at.matches(".why")) explain(at);
    else if (at.matches(".reset")) visit(location.pathname);
    else sortBy(at.closest("th"));
  });

  // ---- light or dark

  const THEMES = { auto: "as the system has them", light: "light", dark: "dark" };

  function themeButton() {
    const root = document.documentElement, button = make("button", { type: "button", className: "theme" });
    const tell = () => { button.title = `Colours: ${THEMES[root.dataset.theme ?? "auto"]}`; button.setAttribute("aria-label", button.title); };
    button.addEventListener("click", () => {
      const names = Object.keys(THEMES), next = names[(names.indexOf(root.dataset.theme ?? "auto") + 1) % names.length];
      if (next === "auto") delete root.dataset.theme; else root.dataset.theme = next;
      try { localStorage.setItem("livelake-theme", next); } catch { /* for this page only, then */ }
      tell();
    });
    tell();
    return button;
  }

  document.body.append(said);
  document.querySelector(".bar")?.append(themeButton());
  prepare(main);
  stream.prepared.push(prepare);
})();
