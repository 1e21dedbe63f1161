// Many points at once: a box, a lasso or the whole frame filled with evenly spaced points.

import { place, useTool } from "./actions.js";
import { change, on, points, state } from "./state.js";

const MOST = 5000; // points in a project, as the server has it

const form = document.getElementById("fill");
const spacing = document.getElementById("fill-spacing");
const count = document.getElementById("fill-count");
let outline = null; // corners of what is to be filled

const wholeFrame = () => {
  const { width, height } = state.video;
  return [[-0.5, -0.5], [width - 0.5, -0.5], [width - 0.5, height - 0.5], [-0.5, height - 0.5]];
};

/** Whether a place lies inside a closed outline: a ray to the right meets it an odd number of
 * times. */
function within([x, y], corners) {
  let odd = false;
  corners.forEach(([u, v], k) => {
    const [p, q] = corners.at(k - 1);
    if (v > y !== q > y && x < u + ((y - v) * (p - u)) / (q - v)) odd = !odd;
  });
  return odd;
}

/** Rows of places so far apart, in the middle of an outline's box, that lie inside the outline. */
export function filled(corners, apart) {
  const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
  const along = (values) => {
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const rest = ((high - low) % apart) / 2;
    const from = high - low < apart ? (low + high) / 2 : low + rest;
    const most = high - low < apart ? 1 : Math.floor((high - low) / apart) + 1;
    return Array.from({ length: most }, (_, k) => from + k * apart);
  };
  const [columns, rows] = [along(xs), along(ys)];
  if (columns.length * rows.length > 4 * MOST) return null;
  return rows.flatMap((y) => columns.map((x) => [x, y])).filter((at) => within(at, corners));
}

/** Offers to fill what was outlined on the frame. */
export function offer() {
  const { shape } = state;
  if (!shape || shape.length < 3) return change({ shape: null });
  outline = shape;
  work();
}

function work() {
  if (!outline) return;
  const apart = Math.max(Number(spacing.value) || 1, 1);
  const fill = filled(outline, apart);
  const room = MOST - points().length;
  const many = !fill || fill.length > room;
  count.textContent = many ? `more than ${room} points` : `${fill.length} points`;
  form.querySelector(".main").disabled = many || fill.length === 0;
  change({ fill: many ? [] : fill });
}

spacing.addEventListener("input", work);
form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const { fill } = state;
  useTool("move");
  if (fill?.length) await place(fill);
});
document.getElementById("fill-leave").addEventListener("click", () => useTool("move"));

on(["tool"], () => {
  outline = state.tool === "grid" && state.video ? wholeFrame() : null;
  work();
});
on(["fill"], () => {
  form.hidden = state.fill === null;
  if (state.fill === null) outline = null;
  else if (document.activeElement?.closest("#fill") === null) spacing.focus({ preventScroll: true });
});
