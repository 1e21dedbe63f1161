// Dark or light: as the system has it, until the button was pressed.

import { change } from "./state.js";

const KEY = "dinotrack-theme";
const root = document.documentElement;
const dark = matchMedia("(prefers-color-scheme: dark)");
const probe = document.createElement("span");
let known = new Map();

const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : dark.matches);

function set(theme) {
  if (theme) root.dataset.theme = theme;
  known = new Map();
  change({ theme: isDark() ? "dark" : "light" });
}

/** A colour of the style sheet, such as "--unsure", for use on a canvas. */
export function ink(name) {
  if (!known.has(name)) {
    probe.style.color = `var(${name})`;
    known.set(name, getComputedStyle(probe).color);
  }
  return known.get(name);
}

export function begin() {
  probe.hidden = true;
  document.body.append(probe);
  set(localStorage.getItem(KEY));
  dark.addEventListener("change", () => set());
  for (const button of document.querySelectorAll("button.theme")) {
    button.addEventListener("click", () => {
      const next = isDark() ? "light" : "dark";
      localStorage.setItem(KEY, next);
      set(next);
    });
  }
}
