// The tabs of the inspector, and tabs in general: arrow keys go from one to the next.

import { change, on, state } from "./state.js";

const tabs = [...document.querySelectorAll("[data-step]")];

for (const tab of tabs) tab.addEventListener("click", () => change({ step: tab.dataset.step }));

on(["step", "video"], () => {
  for (const tab of tabs) {
    const chosen = tab.dataset.step === state.step;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    document.getElementById(`step-${tab.dataset.step}`).hidden = !chosen;
  }
});

for (const list of document.querySelectorAll("[role=tablist]")) {
  list.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    const all = [...list.children];
    const next = all.at((all.indexOf(document.activeElement) + by) % all.length);
    next.focus();
    next.click();
    event.preventDefault();
    event.stopPropagation();
  });
}
