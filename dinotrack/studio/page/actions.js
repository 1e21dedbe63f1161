// All that a user may do. Keys, buttons, menus and the mouse call these and nothing else.

import * as api from "./api.js";
import { askFirst } from "./dialogs.js";
import {
  change, chosenPoint, handAt, hiddenByHand, isRunning, lastFrame, look, nameOf, pointOf, points,
  state, until, untaught,
} from "./state.js";
import { nextStretch } from "./unsure.js";

const at = (path) => `/api/projects/${state.project.id}/${path}`;

/** Does something that may be refused; the refusal is shown. Returns what came, or null. */
export async function attempt(work) {
  try {
    return await work();
  } catch (problem) {
    if (!(problem instanceof api.Problem)) throw problem;
    change({ problem: problem.message });
    return null;
  }
}

let line = Promise.resolve();

/** Sends edits one after the other, in the order in which they were made. */
function send(path, body) {
  change({ sending: state.sending + 1, problem: null });
  line = line.catch(() => null).then(() => attempt(() => api.post(at(path), body)));
  line.finally(() => change({ sending: state.sending - 1 }));
  return line;
}

const edit = (kind, what) => send("edits", { kind, ...what });

/** Says something to those who cannot see the frame. */
export function tell(sentence) {
  document.getElementById("told").textContent = sentence;
}

const exact = (value) => Math.round(value * 1000) / 1000;
const shown = (x, y) => `${x.toFixed(2)}, ${y.toFixed(2)}`;

/** A position held inside the video, to a thousandth of a pixel. */
export function inside(x, y) {
  const { width, height } = state.video;
  const held = (value, size) => exact(Math.min(Math.max(value, -0.5), size - 0.5));
  return [held(x, width), held(y, height)];
}

// --- points ---------------------------------------------------------------------------------------

export function choose(id, { add = false } = {}) {
  if (!add) return change({ chosen: id, selected: new Set(id === null ? [] : [id]) });
  const selected = new Set(state.selected);
  if (selected.has(id) && selected.size > 1) selected.delete(id);
  else selected.add(id);
  change({ chosen: selected.has(id) ? id : [...selected].at(-1), selected });
}

export function select(ids) {
  const chosen = ids.includes(state.chosen) ? state.chosen : (ids.at(-1) ?? null);
  change({ selected: new Set(ids), chosen });
}

export const selectAll = () => select(points().map(({ id }) => id));

/** Places points, [[x, y], ...], in the frame in view, and chooses them. */
export async function place(positions) {
  const t = state.frame;
  const added = positions.map(([x, y]) => inside(x, y)).map(([x, y]) => ({ t, x, y }));
  const done = await edit("add", { points: added });
  if (!done) return;
  await until(() => pointOf(done.ids.at(-1)) || state.away);
  change({ chosen: done.ids.at(-1), selected: new Set(done.ids) });
  const { x, y } = added.at(-1);
  tell(added.length > 1 ? `${added.length} points placed.` : `Placed at ${shown(x, y)}.`);
}

/** Puts a point somewhere in a frame: a correction, or in the frame it was placed in, its place. */
export function move(id, t, x, y) {
  const point = pointOf(id);
  [x, y] = inside(x, y);
  tell(`${nameOf(point)} moved to ${shown(x, y)} in frame ${t}.`);
  return edit(point.t === t ? "place" : "correct", { id, t, x, y });
}

const chosenOnes = () => [...state.selected].map(pointOf).filter(Boolean);

export async function remove() {
  const gone = chosenOnes();
  if (gone.length === 0) return;
  await edit("remove", { ids: gone.map(({ id }) => id) });
  tell(gone.length > 1 ? `${gone.length} points removed.` : `${nameOf(gone[0])} removed.`);
}

export const rename = (id, name) => edit("rename", { id, name: name.trim() || null });
export const colour = (ids, hue) => edit("colour", { ids, colour: hue });

export function accept() {
  const ones = chosenOnes();
  if (ones.length === 0) return;
  const accepted = !ones.every((point) => point.accepted);
  edit("accept", { ids: ones.map(({ id }) => id), accepted });
  tell(accepted ? "Accepted." : "No longer accepted.");
}

/** Hides the chosen point in this frame, or shows it again where it was hidden by hand. */
export function hideHere() {
  const [point, t] = [chosenPoint(), state.frame];
  if (!point) return;
  const back = hiddenByHand(point, t);
  edit(back ? "show" : "hide", { id: point.id, t, u: t });
  tell(back ? "No longer hidden here." : "Hidden here.");
}

export function cutHere() {
  const point = chosenPoint();
  if (!point) return;
  edit("hide", { id: point.id, t: state.frame, u: lastFrame() });
  tell(`Hidden from frame ${state.frame} on.`);
}

export function uncorrect() {
  const point = chosenPoint();
  if (point && state.frame !== point.t && handAt(point, state.frame)) {
    edit("uncorrect", { id: point.id, t: state.frame });
    tell("The correction is deleted.");
  }
}

const may = (what) => state[what] || state.sending > 0; // what is under way may be what is meant

export const undo = () => may("undo") && send("undo");
export const redo = () => may("redo") && send("redo");

export function neighbour(direction) {
  const all = points();
  if (all.length === 0) return;
  const place = all.findIndex(({ id }) => id === state.chosen);
  const next = all.at((place < 0 ? (direction > 0 ? 0 : -1) : place + direction) % all.length);
  choose(next.id);
  tell(nameOf(next));
}

// --- time -----------------------------------------------------------------------------------------

export function goTo(t) {
  change({ frame: Math.min(Math.max(Math.round(t), 0), lastFrame()) });
}

export const step = (by) => {
  change({ playing: false });
  goTo(state.frame + by);
};

export const playOrPause = () => change({ playing: !state.playing });

export function nextUnsure(direction) {
  const found = nextStretch(direction);
  if (!found) return tell("No frame is unsure.");
  change({ playing: false });
  goTo(found.worst);
  choose(found.id);
  const sure = Math.round(100 * state.tracks.get(found.id).confidence[found.worst]);
  tell(`${nameOf(pointOf(found.id))}, frame ${found.worst}, ${sure} percent sure.`);
}

// --- the fit --------------------------------------------------------------------------------------

/** What the panel wishes for; panels set it. */
export const wishes = { preset: null, backbone: null, flow: null, steps: null };

export function fitOrStop() {
  if (isRunning()) return send("stop");
  return state.fit.status === "done" ? fitAgain() : send("fit", wishes);
}

export async function fitAgain() {
  const sure = await askFirst(
    "The fit is made anew with these settings. Your points and corrections stay, and the old fit is kept aside until the new one is done.",
    "Begin anew",
  );
  if (sure) send("fit", { ...wishes, again: true });
}

export function teach() {
  if (untaught().length === 0) {
    return change({ problem: "There is nothing new to teach: drag a point where its track is wrong, then teach." });
  }
  change({ step: "mend" });
  return edit("teach", {});
}

// --- looks and tools ------------------------------------------------------------------------------

export const compare = () => look({ compare: !state.look.compare });

export function correspondence() {
  const on = state.look.picture === "correspondence";
  look({ picture: on ? "frame" : "correspondence" });
  if (!on && state.chosen === null && points().length) choose(points()[0].id);
}

export function useTool(tool) {
  change({ tool, held: null, shape: null, fill: null });
}
