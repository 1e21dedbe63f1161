// The Look panel, and the buttons for zooming.

import { look, on, state } from "./state.js";
import { canvas, showWhole, toScreen, zoom, zoomTo } from "./view.js";

const found = (id) => document.getElementById(id);
const CHOICES = { picture: "picture", colouring: "colouring", "hidden-style": "hidden" };
const NUMBERS = { opacity: "opacity", trail: "trail" };
const SWITCHES = { names: "names", compare: "compare" };

for (const [id, key] of Object.entries(CHOICES)) {
  found(id).addEventListener("change", ({ target }) => look({ [key]: target.value }));
}
for (const [id, key] of Object.entries(NUMBERS)) {
  found(id).addEventListener("input", ({ target }) => look({ [key]: Number(target.value) }));
}
for (const [id, key] of Object.entries(SWITCHES)) {
  found(id).addEventListener("change", ({ target }) => look({ [key]: target.checked }));
}

function show() {
  for (const [id, key] of Object.entries({ ...CHOICES, ...NUMBERS })) found(id).value = state.look[key];
  for (const [id, key] of Object.entries(SWITCHES)) found(id).checked = state.look[key];
  found("opacity").disabled = state.look.picture === "frame";
  found("trail-length").textContent = state.look.trail ? `${state.look.trail} frames` : "none";
  const unfitted = state.fit.status === "none";
  for (const option of found("picture").options) option.disabled = unfitted && option.value !== "frame";
}
on(["look", "fit"], show);

on(["video"], () => {
  if (state.video) found("trail").max = Math.min(state.video.frames, 200);
});

// --- the corner of the frame ----------------------------------------------------------------------

found("zoom-in").addEventListener("click", () => zoom(1.25));
found("zoom-out").addEventListener("click", () => zoom(0.8));
found("zoom-one").addEventListener("click", () => zoomTo(1));
found("zoom-all").addEventListener("click", showWhole);

on(["view"], () => (found("zoom-one").textContent = `${Math.round(100 * state.view.scale)} %`));
on(["pointer", "held"], () => {
  const at = state.held ?? state.pointer;
  const low = state.pointer && toScreen(0, state.pointer.y)[1] > canvas.clientHeight - 72;
  found("hint").classList.toggle("up", Boolean(low)); // out of the way of the cursor
  found("where").textContent = at ? `x ${at.x.toFixed(2)}  y ${at.y.toFixed(2)}` : "";
});
on(["look"], () => (canvas.dataset.picture = state.look.picture));
