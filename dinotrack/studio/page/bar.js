// What the page says by itself: the strip of errors, the bar at the top, and the hint of what to do
// next.

import { fitOrStop, nextUnsure, redo, teach, undo, useTool } from "./actions.js";
import { change, isFitted, isRunning, on, points, state, untaught } from "./state.js";
import { stretches } from "./unsure.js";
import { counted, sentence } from "./words.js";

const found = (id) => document.getElementById(id);

// --- the strip ------------------------------------------------------------------------------------

const AWAY = "The studio does not answer; what you did is saved. Trying again.";

on(["problem", "away"], () => {
  const text = state.away ? AWAY : state.problem && sentence(state.problem);
  found("strip").hidden = !text;
  if (found("strip-text").textContent !== text) found("strip-text").textContent = text ?? "";
  found("strip-close").hidden = state.away;
});
found("strip-close").addEventListener("click", () => change({ problem: null }));

// --- the bar --------------------------------------------------------------------------------------

const JOBS = {
  load: "Opening the fit", track: "Following points", teach: "Teaching", overlay: "Drawing the overlay",
  report: "Writing the report",
};

function showJob() {
  const { job } = state;
  const share = job?.total ? ` ${Math.round((100 * job.done) / job.total)} %` : "";
  found("job").textContent = job ? `${JOBS[job.what] ?? job.what}${share}` : "";
}

function showProject() {
  if (!state.video) return;
  const { width, height, frames, fps } = state.video;
  found("name").textContent = state.project.name;
  found("about").textContent = `${width} × ${height}, ${frames} frames, ${Number(fps.toFixed(3))} a second`;
}

function showUndo() {
  for (const [id, what] of [["undo", state.undo], ["redo", state.redo]]) {
    const name = id === "undo" ? "Undo" : "Redo";
    found(id).disabled = !what;
    found(id).title = what ? `${name}: ${what}` : `Nothing to ${id}`;
    found(id).setAttribute("aria-label", found(id).title);
  }
}

found("undo").addEventListener("click", undo);
found("redo").addEventListener("click", redo);
on(["job"], showJob);
on(["video", "project"], showProject);
on(["undo", "redo"], showUndo);
on(["sending", "away"], () => {
  found("saved").textContent = state.away ? "Not connected" : state.sending ? "Saving" : "Saved";
});

// --- the hint -------------------------------------------------------------------------------------

const take = () => change({ step: "take" });

/** What to do next: a sentence, and perhaps a button with what it does. */
function hint() {
  const many = points().length;
  if (state.held?.by === "keys") return byKeys();
  if (state.fill) return ["Set the spacing, then add the points."];
  if (state.tool === "box") return ["Drag a box over what you want to fill with points."];
  if (state.tool === "lasso") return ["Draw around what you want to fill with points."];
  if (many === 0) return placeFirst();
  if (state.job?.what === "teach") return ["The tracker learns from your corrections."];
  if (isRunning()) return whileFitting();
  if (state.job?.what === "load") return ["The fit is being opened."];
  if (!isFitted()) return [`${counted(many, "point")} placed. Place more, or let the tracker learn this video.`, "Fit", fitOrStop];
  return fitted();
}

function byKeys() {
  const what = state.held.id === null ? "Enter places the point" : "Enter keeps the move";
  return [`Arrows move by 1 px, with Shift by 0.1, with Ctrl by 10. ${what}, Esc leaves.`];
}

function placeFirst() {
  if (state.tool === "place") return ["Click what you want to follow, in any frame. Zoom in with the wheel."];
  return ["Click what you want to follow.", "Place points", () => useTool("place")];
}

function whileFitting() {
  if (!state.fit.preview) return ["The tracker learns this video. You may go on placing points."];
  return ["A first preview: it sharpens while the tracker learns."];
}

function fitted() {
  const [doubts, news] = [stretches().length, untaught().length];
  if (news) return [`${counted(news, "point")} corrected. Teach, and the others learn from it.`, "Teach", teach];
  if (doubts) return [`${counted(doubts, "stretch")} unsure. Go there; drag the mark if it is wrong, or press H if the point is covered.`, "Next unsure", () => nextUnsure(1)];
  if (state.job?.what === "track") return ["The points are being followed."];
  if (state.fit.status === "stopped") return ["The fit was stopped. It goes on from where it was.", "Go on", fitOrStop];
  return ["Nothing is unsure.", "Take away", take];
}

let act = null;

function showHint() {
  if (!state.video) return;
  const [text, name, does] = hint();
  found("hint-text").textContent = text;
  found("hint-do").hidden = !name;
  found("hint-do").textContent = name ?? "";
  act = does;
  found("badge").hidden = !(state.fit.preview && state.tracks.size);
}
found("hint-do").addEventListener("click", () => act?.());
on(["document", "tracks", "fit", "job", "tool", "held", "fill", "video"], showHint);

// --- tools ----------------------------------------------------------------------------------------

const buttons = [...document.querySelectorAll("[data-tool]")];

for (const button of buttons) {
  button.setAttribute("aria-label", button.title);
  button.addEventListener("click", () => useTool(button.dataset.tool));
}
document.getElementById("tools").addEventListener("keydown", (event) => {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by) return;
  event.preventDefault();
  event.stopPropagation();
  buttons.at((buttons.indexOf(document.activeElement) + by) % buttons.length).focus();
});
on(["tool", "video"], () => {
  for (const button of buttons) {
    const used = button.dataset.tool === state.tool;
    button.setAttribute("aria-pressed", used);
    button.tabIndex = used ? 0 : -1;
  }
});
