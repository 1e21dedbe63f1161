// The axis of time that the ruler, the lanes and the curves share.

import { goTo, step } from "./actions.js";
import { change, lastFrame, state } from "./state.js";
import { turned } from "./tools.js";

export const GUTTER = 132; // px left of the first frame, for names
const END = 10; // px right of the last frame

const lanes = document.getElementById("lanes");
const time = document.getElementById("time");

let bar = 0; // width of the scroll bar of the lanes, which the others leave room for too

/** The width of the axis, px. */
export function width() {
  if (!lanes.hidden) bar = time.clientWidth - lanes.clientWidth;
  return time.clientWidth - bar;
}

export const cell = () => (width() - GUTTER - END) / state.video.frames;

/** Where frame t begins, px; its middle is half a cell further on. */
export const across = (t) => GUTTER + t * cell();
export const middle = (t) => across(t + 0.5);

/** The frame at a place of the axis. */
export function frameAt(x) {
  return Math.min(Math.max(Math.floor((x - GUTTER) / cell()), 0), lastFrame());
}

/** The line of the frame in view. */
export function paintCursor(pen, height, colour, from = 0) {
  const x = Math.round(middle(state.frame)) + 0.5;
  pen.strokeStyle = colour;
  pen.lineWidth = 1.5;
  pen.beginPath();
  pen.moveTo(x, from);
  pen.lineTo(x, height);
  pen.stroke();
}

/** Lets a press and a drag go to frames; pressed(event) may say false: not here. */
export function scrub(element, pressed = () => true) {
  const place = (event) => event.clientX - element.getBoundingClientRect().left;
  let down = false;
  element.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !state.video || pressed(event) === false) return;
    down = true;
    element.setPointerCapture(event.pointerId);
    change({ playing: false });
    goTo(frameAt(place(event)));
  });
  element.addEventListener("pointermove", (event) => down && goTo(frameAt(place(event))));
  for (const end of ["pointerup", "pointercancel"]) {
    element.addEventListener(end, () => (down = false));
  }
}

/** Lets the wheel step through frames. */
export function wheelSteps(element, wanted = () => true) {
  const react = (event) => {
    if (!state.video || !wanted(event)) return;
    event.preventDefault();
    step(Math.sign(turned(event)));
  };
  element.addEventListener("wheel", react, { passive: false });
}
