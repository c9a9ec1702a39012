// livelake's page client: one EventSource, Datastar's element patches, ages that count. It needs from
// the server: datastar-patch-elements (with ids), a livelake-tick, whose data is the server's clock in
// milliseconds, first and then every 15 s (comments are invisible here, so only events prove life), and a
// livelake-anew where nothing is resumed: each panel will come, and until then is of a connection that is gone.
// window.livelake is for other scripts of the page: `follow` another stream, `morph` one element into another,
// and `prepared`, functions that see what the server sent before it is put into the page.
"use strict";
(() => {
  const SILENCE_MS = 40_000; // nothing heard for so long: the connection is dead, whatever the browser thinks
  const HIDDEN_MS = 5_000; // a hidden tab gives its connection back (six per origin over HTTP/1.1)
  const STEADY_MS = 5_000; // a stream that lived so long was a success: back-off starts over
  const LONGEST_WAIT_MS = 30_000;
  const WORDS = { connecting: "Connecting…", live: "Live", behind: "Catching up…", lost: "Reconnecting…", paused: "Paused", refused: "No longer live. " };
  const signals = Object.create(null), prepared = [];
  let live = document.body.dataset.live, source = null, timer = 0, hideTimer = 0, attempts = 0, openedAt = 0, heardAt = 0, lastId = "", skewMs = 0;

  function show(state) {
    document.body.dataset.state = state;
    const sign = document.getElementById("connection");
    if (!sign || (sign.dataset.state === state && sign.textContent)) return;
    sign.dataset.state = state;
    sign.textContent = WORDS[state];
    if (state === "refused") sign.append(Object.assign(document.createElement("a"), { href: location.href, textContent: "Reload" }));
  }

  function follow(url) {
    disconnect();
    [live, lastId, attempts] = [url, "", 0];
    if (live) show("connecting");
    if (live && !document.hidden) connect();
  }

  function connect() {
    disconnect();
    const url = new URL(live, location.href);
    if (lastId) url.searchParams.set("last_event_id", lastId);
    source = new EventSource(url);
    openedAt = heardAt = Date.now(); // not performance.now(), which may stand still while the machine sleeps
    const held = [];
    let whole = "";
    const on = (name, act) => source.addEventListener(name, (event) => {
      heardAt = Date.now();
      if (event.lastEventId) lastId = event.lastEventId;
      act(event.data, event.lastEventId);
      if (!document.querySelector(".panel[data-awaited]")) show("live");
      else if (document.body.dataset.state !== "connecting") show("behind");
    });
    on("open", () => {});
    on("livelake-anew", () => {
      for (const panel of document.querySelectorAll(".panel")) panel.dataset.awaited = "";
    });
    on("livelake-reload", () => location.reload()); // `serve --reload`: this page is not what is served any more
    on("livelake-tick", (data) => { skewMs = Number(data) - Date.now() || 0; countAges(); });
    on("datastar-patch-elements", (data, id) => {
      // Of panels that moved together the last has the id: they are shown together. A stream that is cut in between
      // brings them all again.
      held.push(data);
      if (id && id === whole) return;
      whole = id;
      held.splice(0).forEach(patchElements);
    });
    on("datastar-patch-signals", patchSignals);
    // Always our own timer: the browser gives up after an HTTP error, and does not back off otherwise.
    source.onerror = () => {
      if (source.readyState === EventSource.CLOSED) ask(live);
      retry();
    };
  }

  // EventSource does not tell why it was refused. What is merely busy will pass; a dashboard that is not there any
  // more will not, and a session that has ended begins again where the page leads to.
  async function ask(url) {
    const answer = await fetch(url, { method: "HEAD" }).catch(() => null);
    if (url === live && answer?.status === 401) return location.reload();
    if (url !== live || ![400, 403, 404, 410].includes(answer?.status)) return;
    disconnect();
    live = null;
    show("refused");
  }

  function disconnect() {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  function retry() {
    if (!live) return;
    if (Date.now() - openedAt > STEADY_MS) attempts = 0;
    disconnect();
    timer = setTimeout(connect, Math.min(LONGEST_WAIT_MS, 400 * 2 ** attempts++) * (0.5 + Math.random() / 2));
    // The first attempt follows within 0.4 s: a server that merely restarts does not make the page blink.
    if (attempts > 1) show("lost");
    else setTimeout(() => { if (live && source?.readyState !== EventSource.OPEN && !document.hidden) show("lost"); }, 800);
  }

  function resume() {
    clearTimeout(hideTimer);
    if (!live || source?.readyState === EventSource.OPEN) return;
    attempts = 0;
    connect();
  }

  function patchElements(data) {
    const given = { mode: "outer", selector: "", elements: "" };
    for (const line of data.split("\n")) {
      const [, key, value] = /^(\S*) ?(.*)$/s.exec(line);
      given[key] = key === "elements" ? given.elements + value + "\n" : value;
    }
    const template = document.createElement("template");
    template.innerHTML = given.elements.replace(/\n$/, "");
    for (const prepare of prepared) prepare(template.content);
    if (given.selector) apply(given.mode, document.querySelectorAll(given.selector), template.content);
    else for (const root of [...template.content.children]) {
      const target = root.id && document.getElementById(root.id);
      const part = document.createDocumentFragment();
      // Without a selector, the modes that fill an element take the content of the root that names it.
      part.append(...(["outer", "replace"].includes(given.mode) ? [root] : root.childNodes));
      if (target) apply(given.mode, [target], part);
    }
    countAges();
  }

  function apply(mode, targets, content) {
    for (const target of targets) {
      const fresh = content.cloneNode(true);
      if (mode === "remove") target.remove();
      else if (mode === "inner") morphChildren(target, fresh);
      else if (mode === "outer" && fresh.children.length === 1) morph(target, fresh.firstElementChild);
      else if (mode === "outer" || mode === "replace") target.replaceWith(fresh);
      else if (["append", "prepend", "before", "after"].includes(mode)) target[mode](fresh);
    }
  }

  // Nodes stay the same objects where they can: focus, scroll, selection and tooltips survive an update.
  function morph(old, fresh) {
    if (old.isEqualNode(fresh)) return;
    if (old.nodeName !== fresh.nodeName || old.id !== fresh.id) old.replaceWith(fresh);
    else if (old.nodeType !== Node.ELEMENT_NODE) old.data = fresh.data;
    else {
      const kept = old.nodeName === "DETAILS" ? "open" : "";
      for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && name !== kept) old.removeAttribute(name);
      for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
      if (!("age" in old.dataset)) morphChildren(old, fresh); // the words of an age are ours
    }
  }

  function morphChildren(old, fresh) {
    let at = old.firstChild;
    for (const child of [...fresh.childNodes]) {
      const same = child.id && [...old.children].find((one) => one.id === child.id);
      if (same && same !== at) at = old.insertBefore(same, at);
      const next = at?.nextSibling;
      if (at) morph(at, child); else old.append(child);
      at = next;
    }
    while (at) { const next = at.nextSibling; at.remove(); at = next; }
  }

  function patchSignals(data) {
    const missing = data.startsWith("onlyIfMissing true\n");
    const given = JSON.parse(data.replace(/^onlyIfMissing .*\n/, "").replace(/^signals /gm, ""));
    for (const [name, value] of Object.entries(given)) if (!missing || !(name in signals)) signals[name] = value;
  }

  function countAges() {
    for (const time of document.querySelectorAll("time[data-age]")) {
      const s = Math.round((Date.now() + skewMs - Date.parse(time.dateTime)) / 1000);
      const [per, unit] = s < 60 ? [1, "s"] : s < 3600 ? [60, "min"] : s < 86400 ? [3600, "h"] : [86400, "d"];
      const words = s < 2 ? "now" : `${Math.floor(s / per)} ${unit} ago`;
      if (time.textContent !== words) time.textContent = words;
    }
  }

  countAges();
  setInterval(countAges, 1000);
  setInterval(() => { if (source && Math.abs(Date.now() - heardAt) > SILENCE_MS) retry(); }, 1000);
  window.livelake = { signals, prepared, follow, morph, countAges };
  document.addEventListener("visibilitychange", () => {
    clearTimeout(hideTimer);
    if (!document.hidden) resume();
    else hideTimer = setTimeout(() => { disconnect(); if (live) show("paused"); }, HIDDEN_MS);
  });
  addEventListener("online", resume);
  addEventListener("offline", retry);
  addEventListener("pagehide", disconnect);
  addEventListener("pageshow", (event) => { if (event.persisted) resume(); });
  if (live) follow(live);
})();
