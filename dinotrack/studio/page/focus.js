// Where keys go after the mouse was used: to the frame. A button, a list of choices or a slider that
// was used by the mouse does not keep the focus, so that arrows step through frames at once. With
// the keyboard, the focus is where Tab took it.

import { canvas } from "./view.js";

const TEXT = "input[type=number], input.name";
let byMouse = false;

document.addEventListener("pointerdown", () => (byMouse = true), true);
document.addEventListener("keydown", () => (byMouse = false), true);

document.getElementById("studio").addEventListener("mousedown", (event) => {
  if (!event.target.closest("button")) return;
  event.preventDefault();
  if (document.activeElement.matches(TEXT)) document.activeElement.blur(); // keeps what was typed
});

document.getElementById("studio").addEventListener("change", ({ target }) => {
  if (byMouse && !target.matches(TEXT)) canvas.focus({ preventScroll: true });
});
