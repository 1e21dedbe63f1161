// The Fit panel: what is wished for, how far it is, and the losses.

import { attempt, fitAgain, fitOrStop, wishes } from "./actions.js";
import * as api from "./api.js";
import { paintLosses } from "./curves.js";
import { change, isRunning, on, points, state } from "./state.js";
import { capital, left, sentence } from "./words.js";

const found = (id) => document.getElementById(id);
const FIELDS = { preset: "presets", backbone: "backbones", flow: "flows" };

on(["settings"], () => {
  if (!state.settings) return;
  for (const [field, all] of Object.entries(FIELDS)) {
    const first = field === "preset" ? [] : [new Option("by preset", "")];
    const names = state.settings[all].map((name) => new Option(name, name));
    found(field).replaceChildren(...first, ...names);
  }
});

function read() {
  for (const field of Object.keys(FIELDS)) wishes[field] = found(field).value || null;
  wishes.steps = Number(found("fit-steps").value) || null;
}

for (const field of [...Object.keys(FIELDS), "fit-steps"]) {
  found(field).addEventListener("change", () => {
    read();
    show();
  });
}

let shownFor = null;

/** The fields show what the kept fit was made with, once, when a project or a fit begins. */
function fill() {
  const { settings, status } = state.fit;
  if (!settings || !state.project || !state.settings) return;
  const now = `${state.project.id} ${status === "none" ? "" : JSON.stringify(settings)}`;
  if (now === shownFor) return;
  shownFor = now;
  for (const field of Object.keys(FIELDS)) {
    const names = [...found(field).options].map(({ value }) => value);
    if (names.includes(settings[field] ?? "")) found(field).value = settings[field] ?? "";
  }
  found("fit-steps").value = settings.steps ?? "";
  read();
}

const ACTS = {
  none: "Fit", running: "Stop", stopping: "Stopping", stopped: "Go on", done: "Fit", failed: "Fit",
};

function show() {
  const { fit } = state;
  const button = found("fit");
  button.textContent = ACTS[fit.status];
  button.hidden = fit.status === "done";
  button.disabled = fit.status === "stopping";
  found("again").hidden = !["done", "stopped", "failed"].includes(fit.status);
  for (const field of [...Object.keys(FIELDS), "fit-steps"]) found(field).disabled = isRunning();
  showProgress(fit);
  found("fit-note").textContent = note(fit);
}

function note({ status, problem, step, steps }) {
  if (problem) return sentence(problem);
  if (status === "none" && points().length === 0) return "Place points first, and the fit looks at them above all; or fit now and place them later.";
  if (status === "none") return "Press Fit, and the tracker learns this video. A first preview comes within seconds and sharpens while it learns.";
  if (status === "stopped") return `Stopped at step ${step} of ${steps}. What is learnt is kept.`;
  if (status === "done") return `Fitted in ${steps ?? step} steps. A click in the frame is followed at once.`;
  return "";
}

const STAGES = {
  read: "Reading", flow: "Motion", features: "Features", buddies: "Best buddies", fit: "Step",
  refine: "Refining", focus: "Looking at your points",
};
const EARLY = 10; // steps after which the time left is worth saying: the first wait for the preview
const stageOf = (stage) => STAGES[stage] ?? capital(stage);

function showProgress(fit) {
  found("fit-state").hidden = !isRunning();
  const bar = found("fit-progress");
  if (fit.total) bar.value = fit.done / fit.total;
  else bar.removeAttribute("value");
  const counted = fit.total ? ` ${fit.done} of ${fit.total}` : "";
  found("fit-stage").textContent = fit.stage ? `${stageOf(fit.stage)}${counted}` : "Beginning";
  const early = fit.seconds_left == null || (fit.stage === "fit" && fit.done < EARLY);
  found("fit-left").textContent = early ? "" : left(fit.seconds_left);
}

found("fit").addEventListener("click", fitOrStop);
found("again").addEventListener("click", fitAgain);

// --- losses ---------------------------------------------------------------------------------------

const EVERY = 1500; // ms between two looks at the losses of a running fit
let losses = {};
let asked = 0;

async function fetchLosses(fresh) {
  if (!state.project || state.fit.status === "none" || state.away) return;
  if (!fresh && Date.now() - asked < EVERY) return;
  asked = Date.now();
  const { id } = state.project;
  const came = await attempt(() => api.get(`/api/projects/${id}/losses`));
  if (came && state.project?.id === id) losses = came.losses;
  showLosses();
}

function showLosses() {
  const any = Object.values(losses).some((values) => values.length > 1);
  found("losses").hidden = !any || state.fit.status === "none";
  if (!any || state.step !== "fit") return;
  const lines = paintLosses(found("losses-canvas"), losses);
  found("losses-key").replaceChildren(...lines.map(([name, colour]) => {
    const key = document.createElement("span");
    key.textContent = name.replaceAll("_", " ");
    key.style.setProperty("--colour", colour);
    return key;
  }));
}

let status = null;
on(["fit"], () => {
  fetchLosses(state.fit.status !== status);
  status = state.fit.status;
});
on(["project"], () => (losses = {}));
on(["step", "theme"], showLosses);
on(["fit", "project", "settings"], fill);
on(["fit", "document", "project"], show);
on(["video"], () => change({ step: "fit" }));
