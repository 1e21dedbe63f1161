// The one store: what the server said, and what this page looks at. Modules read `state`, write
// through `change`, and are called by `on` when a key that they name was written.

export const NOTHING = { points: [], lessons: [] };

export const state = {
  settings: null, // what /api/settings says
  project: null, // {id, name}
  video: null, // {frames, width, height, fps}
  document: NOTHING,
  undo: null,
  redo: null,
  fit: { status: "none" },
  job: null,
  versions: {},
  tracks: new Map(), // id -> {version, xy, visible, confidence}
  before: new Map(), // id -> the track that was there before the last change
  away: false, // whether the server does not answer
  sending: 0, // edits under way
  problem: null, // a sentence
  frame: 0,
  playing: false,
  chosen: null, // id of the point that keys and panels speak of
  selected: new Set(), // ids; the chosen one is among them
  tool: "move",
  hover: null, // id of the point under the cursor
  pointer: null, // {x, y} under the cursor, in pixels of the video
  held: null, // {id or null, t, x, y, by: "hand" | "keys", sent}: what is moved just now
  shape: null, // outline of a box or lasso while it is drawn, [[x, y], ...]
  fill: null, // points that a box, lasso or grid would add, [[x, y], ...]
  loaded: 0, // pictures that have come
  view: { scale: 1, left: 0, top: 0 },
  look: {
    picture: "frame", opacity: 1, trail: 12, colouring: "own", hidden: "ring", names: false,
    compare: false,
  },
  below: "lanes",
  step: "fit",
};

const listeners = [];
let waiting = [];
let written = new Set();

/** Writes some keys; those who listen to one of them are called once, soon. */
export function change(patch) {
  Object.assign(state, patch);
  if (written.size === 0) queueMicrotask(tell);
  for (const key of Object.keys(patch)) written.add(key);
}

function tell() {
  const keys = written;
  written = new Set();
  for (const { wanted, react } of listeners) {
    if (wanted.some((key) => keys.has(key))) react(keys);
  }
  waiting = waiting.filter(({ holds, resolve }) => !holds() || resolve());
}

/** A promise that something holds, asked after every change. */
export function until(holds) {
  if (holds()) return Promise.resolve();
  return new Promise((done) => waiting.push({ holds, resolve: () => void done() }));
}

/** Calls react(keys written) after any of these keys was written. */
export function on(wanted, react) {
  listeners.push({ wanted, react });
}

export function look(patch) {
  change({ look: { ...state.look, ...patch } });
}

// --- what is asked of the document and the tracks -------------------------------------------------

export const points = () => state.document.points;
let byId = [null, new Map()];

/** The point of an id, or undefined. */
export function pointOf(id) {
  if (byId[0] !== state.document) {
    byId = [state.document, new Map(points().map((point) => [point.id, point]))];
  }
  return byId[1].get(id);
}

export const chosenPoint = () => pointOf(state.chosen);
export const nameOf = (point) => point.name ?? `Point ${point.id}`;
export const lastFrame = () => state.video.frames - 1;

/** A colour for a point that nobody coloured: hues far apart for ids that follow one another. */
export function colourOf(point) {
  return point.colour ?? `hsl(${Math.round(point.id * 137.508 + 150) % 360} 85% 60%)`;
}

/** Where a hand placed a point in a frame, [x, y], or null. */
export function handAt(point, t) {
  if (point.t === t) return [point.x, point.y];
  const given = point.corrections.find((correction) => correction[0] === t);
  return given ? [given[1], given[2]] : null;
}

/** The frames in which a hand placed a point. */
export const handFrames = (point) => [point.t, ...point.corrections.map(([t]) => t)];

/** Whether a hand said that the point is hidden in a frame. */
export const hiddenByHand = (point, t) => point.hidden.some(([from, to]) => from <= t && t <= to);

/** Where a point is in a frame, [x, y]: being dragged, placed by hand, or tracked; or null. */
export function placeAt(point, t) {
  const { held } = state;
  if (held?.id === point.id && held.t === t) return [held.x, held.y];
  return handAt(point, t) ?? state.tracks.get(point.id)?.xy[t] ?? null;
}

/** Whether a point counts as seen in a frame. */
export function isVisible(point, t) {
  if (handAt(point, t)) return true;
  if (hiddenByHand(point, t)) return false;
  return Boolean(state.tracks.get(point.id)?.visible[t]);
}

/** How sure a track is in a frame, from 0 to 1; null where there is no track. */
export const confidenceAt = (point, t) => state.tracks.get(point.id)?.confidence[t] ?? null;

export const isTaught = (point) => {
  const lesson = state.document.lessons.at(-1);
  const then = lesson?.points.find((other) => other.id === point.id);
  const told = ({ t, x, y, corrections, hidden }) => JSON.stringify([t, x, y, corrections, hidden]);
  return Boolean(then) && told(then) === told(point);
};

/** Points that a hand placed anew and no lesson holds as they are. Hiding alone teaches nothing. */
export const untaught = () => points().filter((p) => p.corrections.length && !isTaught(p));

export const isRunning = () => ["running", "stopping"].includes(state.fit.status);

/** Whether there is a fit that follows points; "stopped" is one that goes on when asked. */
export const isFitted = () => ["done", "stopped"].includes(state.fit.status);
