// Plays the clip at its own rate, and waits where a frame has not come yet.

import { goTo } from "./actions.js";
import { frameAddress, ready } from "./frames.js";
import { change, lastFrame, on, state } from "./state.js";

let from, since; // frame and time that the present stretch is counted from

function begin(frame, now) {
  [from, since] = [frame, now];
}

function tick(now) {
  if (!state.playing || !state.video) return;
  requestAnimationFrame(tick);
  const due = from + Math.floor(((now - since) * (state.video.fps || 24)) / 1000);
  if (due === state.frame) return;
  const next = due > lastFrame() ? 0 : due;
  if (!ready(frameAddress(next))) return begin(state.frame, now);
  if (due > lastFrame()) begin(0, now);
  goTo(next);
}

on(["playing"], () => {
  if (!state.playing) return;
  if (state.frame === lastFrame()) change({ frame: 0 });
  requestAnimationFrame((now) => {
    begin(state.frame, now);
    tick(now);
  });
});
