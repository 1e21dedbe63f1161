// Where the video lies on the screen. Positions in the video are float pixels, (0, 0) being the
// centre of the top-left pixel, so that pixel's corner (-0.5, -0.5) lies at (left, top).

import { change, on, state } from "./state.js";

const SMALLEST = 0.05;
const LARGEST = 64;
const MARGIN = 10; // px around the whole frame

export const canvas = document.getElementById("frame");
let whole = true; // whether the view follows the size of the window

export const size = () => [canvas.clientWidth, canvas.clientHeight];

export const toScreen = (x, y) => {
  const { scale, left, top } = state.view;
  return [(x + 0.5) * scale + left, (y + 0.5) * scale + top];
};

export const toVideo = (screenX, screenY) => {
  const { scale, left, top } = state.view;
  return [(screenX - left) / scale - 0.5, (screenY - top) / scale - 0.5];
};

/** The position in the video under a mouse event, not rounded. */
export function under(event) {
  const box = canvas.getBoundingClientRect();
  return toVideo(event.clientX - box.left, event.clientY - box.top);
}

function show(view) {
  change({ view });
  const { scale, left, top } = view;
  canvas.dataset.view = `${scale} ${left} ${top}`; // for whoever steers the page by a program
}

/** Shows the whole frame, and goes on doing so when the window changes. */
export function showWhole() {
  if (!state.video) return;
  whole = true;
  const [width, height] = size();
  const { width: wide, height: high } = state.video;
  const most = Math.min((width - 2 * MARGIN) / wide, (height - 2 * MARGIN) / high);
  const scale = Math.max(most, SMALLEST);
  show({ scale, left: (width - wide * scale) / 2, top: (height - high * scale) / 2 });
}

/** Zooms by a factor, and keeps what lies at a place of the screen where it is. */
export function zoom(factor, x = size()[0] / 2, y = size()[1] / 2) {
  whole = false;
  const { scale, left, top } = state.view;
  const next = Math.min(Math.max(scale * factor, SMALLEST), LARGEST);
  const by = next / scale;
  show(held({ scale: next, left: x - (x - left) * by, top: y - (y - top) * by }));
}

export const zoomTo = (scale) => zoom(scale / state.view.scale);

export function pan(right, down) {
  whole = false;
  const { scale, left, top } = state.view;
  show(held({ scale, left: left + right, top: top + down }));
}

/** Moves the picture so far that a position of the video is well inside the window. */
export function keepInView(x, y) {
  const [width, height] = size();
  const [across, down] = toScreen(x, y);
  const [marginX, marginY] = [Math.min(60, width / 4), Math.min(60, height / 4)];
  const right = Math.min(Math.max(across, marginX), width - marginX) - across;
  const below = Math.min(Math.max(down, marginY), height - marginY) - down;
  if (right || below) pan(right, below);
}

/** A part of the frame stays in view, wherever one drags it. */
function held({ scale, left, top }) {
  const [width, height] = size();
  const { width: wide, height: high } = state.video;
  const near = (value, extent, room) => Math.min(Math.max(value, 40 - extent), room - 40);
  return { scale, left: near(left, wide * scale, width), top: near(top, high * scale, height) };
}

new ResizeObserver(() => {
  if (!state.video) return;
  if (whole) showWhole();
  else change({ view: { ...state.view } });
}).observe(canvas);

let shown = null;
on(["video", "project"], () => {
  if (state.project?.id !== shown) showWhole();
  shown = state.video ? state.project.id : null;
});
