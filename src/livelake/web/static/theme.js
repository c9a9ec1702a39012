// Light or dark as the reader chose it, before the first thing is drawn.
"use strict";
try {
  const chosen = localStorage.getItem("livelake-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* storage is forbidden: the system's choice holds */ }
