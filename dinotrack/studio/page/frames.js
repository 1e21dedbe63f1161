// Pictures of the video: fetched ahead of time, decoded, and held up to a limit of memory.

import { picture, Problem } from "./api.js";
import { change, lastFrame, on, state } from "./state.js";

const LIMIT = 256 * 2 ** 20; // bytes of decoded pictures
const AT_ONCE = 4; // requests
const AHEAD = 24; // frames

const held = new Map(); // address -> picture, the one used last at the end
const loading = new Set();
const failed = new Set();
let wanted = [];
let bytes = 0;

const size = ({ width, height }) => width * height * 4;

export const frameAddress = (t) => `/api/projects/${state.project.id}/frames/${t}.jpg`;

/** The address of what lies over the frame, or null: it changes with what it is made of. */
export function overAddress() {
  const { look, chosen, frame, fit, document, versions, project } = state;
  if (look.picture === "frame" || fit.status === "none") return null;
  const features = ["raw", "refined"].includes(look.picture);
  if (!features && versions[chosen] === undefined) return null;
  const made = `${Math.floor((fit.step ?? 0) / 50)}.${document.lessons.length}`;
  const of = features ? "" : `point=${chosen}&of=${versions[chosen]}&`;
  return `/api/projects/${project.id}/pictures/${look.picture}/${frame}?${of}made=${made}`;
}

/** A picture that has come, or null. */
export function ready(address) {
  const found = held.get(address);
  if (!found) return null;
  held.delete(address);
  held.set(address, found);
  return found;
}

/** Asks for pictures, the most urgent first; what was asked for before and has not begun is not. */
function want(addresses) {
  wanted = addresses.filter((address) => !held.has(address) && !failed.has(address));
  pump();
}

function pump() {
  while (loading.size < AT_ONCE && wanted.length) {
    const address = wanted.shift();
    if (!loading.has(address)) load(address);
  }
}

async function load(address) {
  loading.add(address);
  try {
    keep(address, await picture(address));
  } catch (problem) {
    failed.add(address);
    if (problem instanceof Problem && !state.away) change({ problem: problem.message });
  } finally {
    loading.delete(address);
    change({ loaded: state.loaded + 1 });
    pump();
  }
}

function keep(address, bitmap) {
  held.set(address, bitmap);
  bytes += size(bitmap);
  for (const [old, other] of held) {
    if (bytes <= LIMIT || old === address) break;
    held.delete(old);
    bytes -= size(other);
    other.close();
  }
}

function wantAround() {
  if (!state.video) return;
  const { frame, playing } = state;
  const ways = Array.from({ length: AHEAD }, (_, k) => (playing ? [frame + k + 1] : near(k))).flat();
  const inside = ways.filter((t) => 0 <= t && t <= lastFrame());
  const around = playing && frame + AHEAD > lastFrame() ? [...inside, 0, 1, 2, 3] : inside;
  const over = overAddress();
  want([frameAddress(frame), ...(over ? [over] : []), ...around.map(frameAddress)]);
}

const near = (k) => (k < AHEAD / 3 ? [state.frame + k + 1, state.frame - k - 1] : []);

on(["video", "frame", "playing", "look", "chosen", "versions", "fit"], wantAround);
on(["away", "project"], () => {
  failed.clear();
  wantAround();
});
