// The Take away panel: tracks in every format, the overlay, and the report.

import { attempt, tell } from "./actions.js";
import * as api from "./api.js";
import { on, points, state } from "./state.js";
import { capital } from "./words.js";

const found = (id) => document.getElementById(id);

on(["settings"], () => {
  if (!state.settings) return;
  const formats = state.settings.formats.map(({ name, suffix }) => new Option(`${name} (${suffix})`, name));
  found("format").replaceChildren(...formats);
  if (state.settings.formats.some(({ name }) => name === "csv")) found("format").value = "csv";
  found("style").replaceChildren(...state.settings.styles.map((name) => new Option(name, name)));
  showWhat();
});

function showWhat() {
  const chosen = state.settings?.formats.find(({ name }) => name === found("format").value);
  found("format-what").textContent = capital(chosen?.what ?? "");
}
found("format").addEventListener("change", showWhat);

function asked() {
  const query = new URLSearchParams();
  if (found("which").value === "selected") query.set("points", [...state.selected].join(","));
  if (found("start-frame").value) query.set("start_frame", found("start-frame").value);
  if (found("only-visible").checked) query.set("only_visible", "true");
  return `?${query}`;
}

const TAKES = {
  "take-tracks": () => `export/${found("format").value}${asked()}`,
  "take-overlay": () => `overlay?style=${found("style").value}`,
  "take-report": () => "report",
};
let busy = false;

for (const [id, path] of Object.entries(TAKES)) {
  found(id).addEventListener("click", async () => {
    busy = true;
    show();
    const file = await attempt(() => api.download(`/api/projects/${state.project.id}/${path()}`));
    if (file) tell(`${file} is downloaded.`);
    busy = false;
    show();
  });
}

function show() {
  const nothing = state.tracks.size === 0;
  for (const id of Object.keys(TAKES)) found(id).disabled = busy || nothing || points().length === 0;
  const few = state.selected.size;
  found("which").options[1].textContent = `Selected (${few})`;
  found("which").options[1].disabled = few === 0;
  if (few === 0) found("which").value = "all";
}

on(["tracks", "document", "selected"], show);
