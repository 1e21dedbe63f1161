// Keeps the store equal to the server: opens a project, takes its events, fetches tracks anew.

import * as api from "./api.js";
import { change, NOTHING, on, pointOf, state } from "./state.js";

const MANY = 200; // more points than this are asked for by asking for all

let leave = () => {};

/** Opens a project: its state comes as the first event. */
export function open(id) {
  close();
  change({ problem: null });
  leave = api.listen(id, heard, () => lost(id));
}

/** The stream broke off: the studio is away, or it cannot open this project (any more). */
async function lost(id) {
  change({ away: true });
  try {
    await api.get(`/api/projects/${id}`);
  } catch (problem) {
    if (!problem.status) return;
    close();
    location.hash = "";
    change({ problem: problem.message });
  }
}

/** Leaves the project that is open. */
export function close() {
  leave();
  leave = () => {};
  change({
    project: null, video: null, document: NOTHING, tracks: new Map(), before: new Map(),
    versions: {}, fit: { status: "none" }, job: null, chosen: null, selected: new Set(), frame: 0,
    playing: false, fill: null, shape: null, held: null, away: false, undo: null, redo: null,
  });
}

const TAKES = {
  state: ({ id, name, ...rest }) => {
    const begun = state.video !== null;
    change({ project: { id, name }, away: false, ...rest, frame: held(rest.video) });
    if (!begun) change({ tool: rest.document.points.length ? "move" : "place" });
    document.title = `${name} · dinotrack studio`;
  },
  document: ({ document, undo, redo }) => change({ document, undo, redo }),
  fit: (fit) => change({ fit }),
  job: (job) => change({ job }),
  tracks: ({ versions }) => change({ versions }),
  problem: ({ problem }) => change({ problem }),
};

const held = (video) => Math.min(state.frame, video.frames - 1);
const heard = (event, data) => TAKES[event](data);

// --- tracks ---------------------------------------------------------------------------------------

let fetching = false;

async function fetchTracks() {
  if (fetching || !state.project) return;
  const { project } = state;
  const stale = Object.keys(state.versions).filter(
    (id) => state.tracks.get(Number(id))?.version !== state.versions[id] && pointOf(Number(id)),
  );
  if (stale.length === 0) return;
  fetching = true;
  try {
    const which = stale.length > MANY ? "" : `?ids=${stale.join(",")}`;
    const { tracks } = await api.get(`/api/projects/${project.id}/tracks${which}`);
    if (project.id === state.project?.id) take(tracks);
  } catch (problem) {
    if (!state.away) change({ problem: problem.message });
    return;
  } finally {
    fetching = false;
  }
  setTimeout(fetchTracks, 50); // what came meanwhile
}

function take(fresh) {
  const tracks = new Map(state.tracks);
  const before = new Map(state.before);
  for (const track of fresh) {
    const old = tracks.get(track.id);
    if (old?.version === track.version) continue;
    if (old && !state.fit.preview && !old.preview) before.set(track.id, old);
    tracks.set(track.id, { ...track, preview: Boolean(state.fit.preview) });
  }
  change({ tracks, before });
}

/** Tracks of points that are gone, and choices of them, are let go. */
function forget() {
  const gone = (id) => !pointOf(id);
  const dropped = [...state.tracks.keys()].filter((id) => gone(id) || !(id in state.versions));
  if (dropped.length) {
    const tracks = new Map(state.tracks);
    const before = new Map(state.before);
    for (const id of dropped) tracks.delete(id) && before.delete(id);
    change({ tracks, before });
  }
  if (state.chosen !== null && gone(state.chosen)) change({ chosen: null });
  if ([...state.selected].some(gone)) {
    change({ selected: new Set([...state.selected].filter((id) => !gone(id))) });
  }
}

on(["document", "versions"], () => {
  forget();
  fetchTracks();
});
on(["away"], () => state.away || fetchTracks());
