// The menu of a point, on the right mouse button or the menu key.

import { accept, cutHere, hideHere, remove, uncorrect } from "./actions.js";
import { chosenPoint, handAt, hiddenByHand, nameOf, state } from "./state.js";
import { beginRename } from "./points.js";

const menu = document.getElementById("menu");
let back = null; // what had the focus

function entries() {
  const [point, t] = [chosenPoint(), state.frame];
  return [
    [hiddenByHand(point, t) ? "Show here" : "Hide here", "H", hideHere],
    ["Cut from here on", "X", cutHere],
    t !== point.t && handAt(point, t) && ["Delete correction", "⌫", uncorrect],
    [point.accepted ? "No longer accept" : "Accept", "A", accept],
    ["Rename", "F2", () => beginRename(point.id)],
    ["Remove", "Del", remove],
  ].filter(Boolean);
}

export function openMenu(x, y) {
  const point = chosenPoint();
  if (!point) return;
  back = document.activeElement;
  menu.setAttribute("aria-label", nameOf(point));
  menu.replaceChildren(...entries().map(entry));
  menu.hidden = false;
  const { offsetWidth: wide, offsetHeight: high } = menu;
  menu.style.left = `${Math.min(x, innerWidth - wide - 8)}px`;
  menu.style.top = `${Math.min(y, innerHeight - high - 8)}px`;
  menu.firstChild.focus();
}

function entry([what, key, act]) {
  const item = document.createElement("li");
  item.setAttribute("role", "menuitem");
  item.tabIndex = -1;
  const hint = document.createElement("kbd");
  hint.textContent = key;
  item.append(what, hint);
  item.addEventListener("click", () => {
    close();
    act();
  });
  return item;
}

function close() {
  if (menu.hidden) return;
  menu.hidden = true;
  back?.focus?.({ preventScroll: true });
}

const MOVES = { ArrowDown: 1, ArrowUp: -1 };

menu.addEventListener("keydown", (event) => {
  event.stopPropagation();
  const items = [...menu.children];
  const place = items.indexOf(document.activeElement);
  if (event.key in MOVES) items.at((place + MOVES[event.key]) % items.length).focus();
  else if (event.key === "Enter" || event.key === " ") document.activeElement.click();
  else if (event.key === "Escape" || event.key === "Tab") close();
  event.preventDefault();
});
document.addEventListener("pointerdown", (event) => menu.contains(event.target) || close());
addEventListener("blur", close);
