// What "unsure" means. A frame of a track is unsure where the point counts as visible but its
// confidence is below LEVEL (a point is visible from 0.4 on), and where it is seen or hidden for
// fewer than FLICKER frames between two stretches of the other. Not where a hand placed it or hid
// it, and nowhere in a track that was accepted. docs/studio.md says the same.

import { handFrames, hiddenByHand, points, state } from "./state.js";

export const LEVEL = 0.6;
export const FLICKER = 3;

const known = new WeakMap();

/** A flag for each frame of a point: 1 where its track is unsure. Null without a track. */
export function unsureFrames(point) {
  const track = state.tracks.get(point.id);
  if (!track) return null;
  const old = known.get(point);
  if (old?.track === track) return old.flags;
  const flags = point.accepted ? new Uint8Array(track.xy.length) : flagsOf(point, track);
  known.set(point, { track, flags });
  return flags;
}

function flagsOf(point, track) {
  const { visible, confidence } = track;
  const flags = Uint8Array.from(visible, (seen, t) => (seen && confidence[t] < LEVEL ? 1 : 0));
  const runs = runsOf(visible, () => true);
  for (const [from, to] of runs.slice(1, -1)) {
    if (to - from + 1 < FLICKER) flags.fill(1, from, to + 1);
  }
  for (const t of handFrames(point)) flags[t] = 0;
  return flags.map((flag, t) => (hiddenByHand(point, t) ? 0 : flag));
}

/** Runs of equal values, [first, last], of the values that are wanted. */
export function runsOf(values, wanted) {
  const runs = [];
  for (let from = 0, t = 1; t <= values.length; t++) {
    if (t < values.length && values[t] === values[from]) continue;
    if (wanted(values[from])) runs.push([from, t - 1]);
    from = t;
  }
  return runs;
}

/** The unsure stretches of a point: {id, from, to, worst}, worst being the least sure frame. */
export function stretchesOf(point) {
  const flags = unsureFrames(point);
  if (!flags) return [];
  const { confidence } = state.tracks.get(point.id);
  return runsOf(flags, Boolean).map(([from, to]) => {
    let worst = from;
    for (let t = from; t <= to; t++) if (confidence[t] < confidence[worst]) worst = t;
    return { id: point.id, from, to, worst };
  });
}

let all = [];

/** The unsure stretches of all points, in the order of the list. */
export function stretches() {
  const [document, tracks, found] = all;
  if (document === state.document && tracks === state.tracks) return found;
  all = [state.document, state.tracks, points().flatMap(stretchesOf)];
  return all[2];
}

let counted = [];

/** How many points are unsure in each frame. */
export function doubts() {
  const [document, tracks, found] = counted;
  if (document === state.document && tracks === state.tracks) return found;
  const count = new Uint32Array(state.video.frames);
  for (const point of points()) unsureFrames(point)?.forEach((flag, t) => (count[t] += flag));
  counted = [state.document, state.tracks, count];
  return count;
}

/** The stretch after (or before) a frame of the chosen point, then those of other points, around. */
export function nextStretch(direction) {
  const order = new Map(points().map((point, place) => [point.id, place]));
  const key = ({ id, worst }) => order.get(id) * state.video.frames + worst;
  const place = order.get(state.chosen) ?? (direction > 0 ? -1 : order.size);
  const here = place * state.video.frames + state.frame;
  const found = stretches();
  if (direction > 0) return found.find((stretch) => key(stretch) > here) ?? found[0];
  return found.findLast((stretch) => key(stretch) < here) ?? found.at(-1);
}
