// What the mouse (or a pen) does on the frame: choose, drag, place, outline, pan, zoom.

import { choose, inside, move, place, select, step } from "./actions.js";
import { offer } from "./fill.js";
import { markAt } from "./marks.js";
import { openMenu } from "./menu.js";
import { change, on, placeAt, pointOf, points, state } from "./state.js";
import { canvas, pan, toScreen, under, zoom } from "./view.js";

const NEAR = 10; // px from a mark that count as on it
const STILL = 3; // px that the mouse may move in a click

let act = null; // what goes on while a button is down: {moved(event), done(event)}

/** The point whose mark is nearest to a mouse event, or null. The chosen one goes first. */
function hit(event) {
  const box = canvas.getBoundingClientRect();
  const far = (point) => {
    const mark = markAt(point, state.frame);
    if (!mark) return Infinity;
    const away = Math.hypot(mark[0] - event.clientX + box.left, mark[1] - event.clientY + box.top);
    return point.id === state.chosen ? away - 2 : away;
  };
  const reach = state.tool === "place" ? NEAR - 2 : NEAR;
  let best = { point: null, away: reach };
  for (const point of points()) {
    const away = far(point);
    if (away < best.away) best = { point, away };
  }
  return best.point;
}

const still = (from, event) =>
  Math.hypot(event.clientX - from.clientX, event.clientY - from.clientY) < STILL;

// --- what a press begins --------------------------------------------------------------------------

function panning(from, click = () => {}) {
  let [x, y] = [from.clientX, from.clientY];
  let moved = false;
  canvas.classList.add("panning");
  return {
    moved(event) {
      moved ||= !still(from, event);
      if (!moved) return;
      pan(event.clientX - x, event.clientY - y);
      [x, y] = [event.clientX, event.clientY];
    },
    done() {
      canvas.classList.remove("panning");
      if (!moved) click();
    },
  };
}

/** Drags a point: its mark follows, and what is sent on release is one edit. */
function dragging(point, from) {
  choose(point.id);
  const t = state.frame;
  const [x, y] = placeAt(point, t);
  const start = under(from);
  let moved = false;
  return {
    moved(event) {
      moved ||= !still(from, event);
      if (!moved) return;
      const now = under(event);
      const [nextX, nextY] = inside(x + now[0] - start[0], y + now[1] - start[1]);
      change({ held: { id: point.id, t, x: nextX, y: nextY, by: "hand" } });
    },
    done: () => moved && drop(),
  };
}

/** Puts down what is held; it stays where it is until the server has it. */
export async function drop() {
  const { held } = state;
  if (!held || held.sent) return;
  const sent = { ...held, sent: true };
  change({ held: sent });
  if (held.id === null) await place([[held.x, held.y]]);
  else await move(held.id, held.t, held.x, held.y);
  if (state.held === sent) change({ held: null });
}

on(["document"], () => {
  if (state.held?.sent || (state.held?.id && !pointOf(state.held.id))) change({ held: null });
});

function placing(from) {
  const hold = (event) => {
    const [x, y] = inside(...under(event));
    change({ held: { id: null, t: state.frame, x, y, by: "hand" } });
  };
  hold(from);
  return { moved: hold, done: drop };
}

function boxing(from, finished) {
  const [x, y] = inside(...under(from));
  return {
    moved(event) {
      if (still(from, event)) return;
      const [u, v] = inside(...under(event));
      change({ shape: [[x, y], [u, y], [u, v], [x, v]] });
    },
    done: finished,
  };
}

function lassoing(from, finished) {
  const way = [inside(...under(from))];
  return {
    moved(event) {
      way.push(inside(...under(event)));
      change({ shape: [...way] });
    },
    done: finished,
  };
}

/** Selects the points inside the box that was drawn. */
function selectInside() {
  const { shape, frame } = state;
  change({ shape: null });
  if (!shape) return;
  const [[x, y], , [u, v]] = shape;
  const within = (value, a, b) => Math.min(a, b) <= value && value <= Math.max(a, b);
  const found = points().filter((point) => {
    const at = placeAt(point, frame);
    return at && within(at[0], x, u) && within(at[1], y, v);
  });
  select([...new Set([...state.selected, ...found.map(({ id }) => id)])]);
}

function begin(event) {
  if (event.button === 1 || (event.button === 0 && event.altKey)) return panning(event);
  if (event.button !== 0 || !state.video) return null;
  const point = hit(event);
  if (state.tool === "box") return boxing(event, offer);
  if (state.tool === "lasso") return lassoing(event, offer);
  if (point && event.shiftKey) return void choose(point.id, { add: true });
  if (point) return dragging(point, event);
  if (state.tool === "place") return placing(event);
  if (event.shiftKey) return boxing(event, selectInside);
  return panning(event, () => choose(null));
}

// --- listening ------------------------------------------------------------------------------------

canvas.addEventListener("pointerdown", (event) => {
  if (act) return;
  canvas.focus({ preventScroll: true });
  if (state.held?.by === "keys") change({ held: null });
  act = begin(event);
  if (!act) return;
  event.preventDefault();
  canvas.setPointerCapture(event.pointerId);
  change({ playing: false });
});

canvas.addEventListener("pointermove", (event) => {
  if (!state.video) return;
  const [x, y] = under(event);
  const hover = act ? state.hover : (hit(event)?.id ?? null);
  change({ pointer: { x, y }, hover });
  act?.moved(event);
});

function finish(event) {
  const ended = act;
  act = null;
  ended?.done(event);
}

canvas.addEventListener("pointerup", finish);
canvas.addEventListener("pointercancel", () => {
  act = null;
  canvas.classList.remove("panning");
  change({ held: null, shape: null });
});
canvas.addEventListener("pointerleave", () => change({ pointer: null, hover: null }));

/** Leaves what is being dragged or outlined, without doing it. */
export function leave() {
  act = null;
  canvas.classList.remove("panning");
  change({ held: null, shape: null, fill: null });
}

const LINE = 16; // px that a line of a mouse wheel counts

/** How far a wheel was turned, in px, sideways turns counted too. */
export const turned = ({ deltaX, deltaY, deltaMode }) =>
  (Math.abs(deltaY) > Math.abs(deltaX) ? deltaY : deltaX) * (deltaMode === 1 ? LINE : 1);

/** The place of the screen that a wheel zooms at. The event has it in whole pixels alone, which
 * would shift what is under the cursor; where the mouse last moved is known better. */
function anchor(event) {
  const box = canvas.getBoundingClientRect();
  const whole = [event.clientX - box.left, event.clientY - box.top];
  if (!state.pointer) return whole;
  const exact = toScreen(state.pointer.x, state.pointer.y);
  return exact.every((value, axis) => Math.abs(value - whole[axis]) < 2) ? exact : whole;
}

canvas.addEventListener(
  "wheel",
  (event) => {
    if (!state.video) return;
    event.preventDefault();
    const by = turned(event);
    if (event.shiftKey) return step(Math.sign(by));
    if (event.altKey) return pan(-event.deltaX, -event.deltaY);
    const speed = event.ctrlKey ? 0.01 : 0.002; // a pinch comes as small turns with ctrl
    zoom(Math.exp(-by * speed), ...anchor(event));
  },
  { passive: false },
);

canvas.addEventListener("contextmenu", (event) => {
  event.preventDefault();
  const point = hit(event) ?? pointOf(state.chosen);
  if (!point) return;
  choose(point.id);
  openMenu(event.clientX, event.clientY);
});

on(["tool", "hover"], () => {
  canvas.dataset.tool = state.tool;
  canvas.classList.toggle("over", state.hover !== null);
});

