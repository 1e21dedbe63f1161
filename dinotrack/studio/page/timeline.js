// The row of buttons below the frame, and the ruler.

import { goTo, nextUnsure, playOrPause, step } from "./actions.js";
import { across, cell, frameAt, middle, paintCursor, scrub, wheelSteps, width } from "./axis.js";
import { FONT, fresh, niceStep, soon } from "./paint.js";
import { change, lastFrame, on, state } from "./state.js";
import { ink } from "./theme.js";
import { doubts, stretches } from "./unsure.js";
import { canvas } from "./view.js";

const found = (id) => document.getElementById(id);
const ruler = found("ruler");
const number = found("frame-number");

const TICK = 64; // px from one number of the ruler to the next, at least

function paintRuler() {
  if (!state.video) return;
  const [pen, , height] = fresh(ruler);
  paintDoubts(pen, height);
  pen.font = `11px ${FONT}`;
  pen.textAlign = "center";
  const every = Math.max(niceStep(state.video.frames, Math.max((width() - 140) / TICK, 2)), 1);
  for (let t = 0; t <= lastFrame(); t += every) {
    const x = middle(t);
    pen.fillStyle = ink("--line-strong");
    pen.fillRect(Math.round(x), height - 6, 1, 6);
    pen.fillStyle = ink("--quiet");
    if (Math.abs(x - middle(state.frame)) > 26) pen.fillText(t, x, 12);
  }
  paintFrame(pen, height);
}

/** How many points are unsure in each frame, as a red band along the lower edge. */
function paintDoubts(pen, height) {
  const count = doubts();
  const most = Math.max(...count);
  pen.fillStyle = ink("--unsure");
  count.forEach((many, t) => {
    if (!many) return;
    pen.globalAlpha = 0.35 + (0.65 * many) / most;
    pen.fillRect(across(t), height - 3, Math.max(cell(), 1.5), 3);
  });
  pen.globalAlpha = 1;
}

function paintFrame(pen, height) {
  const x = middle(state.frame);
  pen.font = `600 11px ${FONT}`;
  const wide = Math.max(pen.measureText(state.frame).width + 12, 22);
  pen.fillStyle = ink("--accent");
  pen.beginPath();
  pen.roundRect(x - wide / 2, 1, wide, 16, 8);
  pen.fill();
  pen.fillStyle = ink("--on-accent");
  pen.fillText(state.frame, x, 13);
  paintCursor(pen, height, ink("--accent"), 17);
}

function showTime() {
  if (!state.video) return;
  const { frames, fps } = state.video;
  if (document.activeElement !== number) number.value = state.frame;
  number.max = lastFrame();
  const seconds = (t) => (t / (fps || 24)).toFixed(2);
  found("clock").textContent = `of ${frames} · ${seconds(state.frame)} s`;
}

function showUnsure() {
  const many = stretches().length;
  const tracked = state.tracks.size > 0;
  found("unsure-count").textContent = tracked ? (many ? `${many} unsure` : "none unsure") : "";
  found("unsure-count").classList.toggle("bad", many > 0);
  for (const id of ["unsure-back", "unsure-next"]) found(id).disabled = many === 0;
}

found("step-back").addEventListener("click", () => step(-1));
found("step-on").addEventListener("click", () => step(1));
found("play").addEventListener("click", playOrPause);
found("unsure-back").addEventListener("click", () => nextUnsure(-1));
found("unsure-next").addEventListener("click", () => nextUnsure(1));
number.addEventListener("change", () => {
  goTo(Number(number.value) || 0);
  number.value = state.frame;
});
number.addEventListener("keydown", ({ key }) => { // then keys are those of the frame again
  if (key === "Enter") canvas.focus({ preventScroll: true });
});

scrub(ruler);
wheelSteps(ruler);
wheelSteps(found("transport"));
ruler.addEventListener("pointermove", (event) => {
  ruler.title = state.video ? `Frame ${frameAt(event.offsetX)}` : "";
});

on(["playing"], () => {
  found("play-icon").setAttribute("href", state.playing ? "#i-pause" : "#i-play");
  found("play").setAttribute("aria-label", state.playing ? "Pause" : "Play");
});
on(["frame", "video"], showTime);
on(["tracks", "document"], showUnsure);
on(["frame", "video", "tracks", "document", "theme", "room", "below"], () => soon(paintRuler));

// --- lanes or curves, and the room they have ------------------------------------------------------

const tabs = [...document.querySelectorAll("[data-below]")];

on(["below", "video"], () => {
  for (const tab of tabs) {
    const chosen = tab.dataset.below === state.below;
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    found(tab.dataset.below).hidden = !chosen;
  }
  change({ room: {} });
});
for (const tab of tabs) tab.addEventListener("click", () => change({ below: tab.dataset.below }));

const splitter = found("splitter");
const LEAST = 96;

function setRoom(height) {
  const most = innerHeight - 260;
  const held = Math.min(Math.max(height, LEAST), most);
  found("studio").style.setProperty("--time", `${held}px`);
  splitter.setAttribute("aria-valuenow", Math.round(held));
  change({ room: {} });
}

const roomNow = () => found("time").offsetHeight;

splitter.addEventListener("pointerdown", (event) => {
  splitter.setPointerCapture(event.pointerId);
  const [from, room] = [event.clientY, roomNow()];
  const moved = (now) => setRoom(room + from - now.clientY);
  splitter.addEventListener("pointermove", moved);
  const ended = () => splitter.removeEventListener("pointermove", moved);
  splitter.addEventListener("lostpointercapture", ended, { once: true });
});
splitter.addEventListener("keydown", (event) => {
  const by = { ArrowUp: 20, ArrowDown: -20 }[event.key];
  if (!by) return;
  event.preventDefault();
  event.stopPropagation();
  setRoom(roomNow() + by);
});
new ResizeObserver(() => change({ room: {} })).observe(found("time"));
