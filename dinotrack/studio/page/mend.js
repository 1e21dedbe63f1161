// The Mend panel: the chosen point in the frame in view, and teaching.

import { accept, cutHere, hideHere, remove, teach, uncorrect } from "./actions.js";
import {
  chosenPoint, confidenceAt, handAt, hiddenByHand, isFitted, isVisible, nameOf, on, placeAt, state,
  untaught,
} from "./state.js";
import { unsureFrames } from "./unsure.js";
import { counted } from "./words.js";

const found = (id) => document.getElementById(id);
const ACTS = {
  "hide-here": hideHere, "cut-here": cutHere, uncorrect, accept, remove, teach,
};
for (const [id, act] of Object.entries(ACTS)) found(id).addEventListener("click", act);

function told(point, t) {
  const place = placeAt(point, t);
  if (!place) return "not followed yet";
  const where = `${place[0].toFixed(2)}, ${place[1].toFixed(2)}`;
  if (hiddenByHand(point, t)) return "hidden by hand";
  if (handAt(point, t)) return `${where}, placed by hand`;
  const sure = `confidence ${confidenceAt(point, t).toFixed(2)}`;
  const doubt = unsureFrames(point)?.[t] ? ", unsure" : "";
  return `${where}, ${isVisible(point, t) ? "visible" : "hidden"}, ${sure}${doubt}`;
}

function show() {
  if (!state.video) return;
  const [point, t] = [chosenPoint(), state.frame];
  const text = found("mend-point");
  text.replaceChildren();
  if (point) {
    const name = document.createElement("strong");
    name.textContent = nameOf(point);
    text.append(name, ` ${told(point, t)}`);
  } else text.append("Choose a point: click its mark, its lane, or its row in the list.");
  for (const id of Object.keys(ACTS)) found(id).disabled = !point;
  if (point) {
    found("hide-here").textContent = hiddenByHand(point, t) ? "Show here" : "Hide here";
    found("uncorrect").disabled = t === point.t || !handAt(point, t);
    found("accept").setAttribute("aria-pressed", point.accepted);
    found("accept").textContent = point.accepted ? "Accepted" : "Accept";
  }
  showTeach();
}

function showTeach() {
  const [news, teaching] = [untaught(), state.job?.what === "teach"];
  found("teach").disabled = news.length === 0 || !isFitted() || teaching;
  found("teach-note").textContent = noteOfTeaching(news, teaching);
}

function noteOfTeaching(news, teaching) {
  const corrections = news.reduce((sum, point) => sum + point.corrections.length, 0);
  const many = `${counted(corrections, "correction")} of ${counted(news.length, "point")}`;
  if (corrections) return `${many}, for the other points to learn from`;
  if (teaching) return "The tracker learns from your corrections.";
  if (state.document.lessons.length) return "Every correction is taught.";
  return "Drag a mark where it is wrong; then all points can learn from it.";
}

on(["document", "tracks", "chosen", "frame", "fit", "job", "held", "video"], show);
