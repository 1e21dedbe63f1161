// A lane for each point: how sure its track is in each frame, where it is hidden, and where a hand
// placed it. Only the lanes in view are painted, so there may be thousands.

import { choose } from "./actions.js";
import { across, cell, frameAt, GUTTER, middle, paintCursor, scrub, wheelSteps } from "./axis.js";
import { FONT, fresh, soon } from "./paint.js";
import {
  colourOf, handFrames, hiddenByHand, isTaught, nameOf, on, points, state,
} from "./state.js";
import { ink } from "./theme.js";
import { unsureFrames } from "./unsure.js";

const HIGH = 20; // px of a lane
const BAR = 10;

const lanes = document.getElementById("lanes");
const canvas = document.getElementById("lanes-canvas");
const space = document.getElementById("lanes-space");

function paint() {
  if (!state.video || lanes.hidden) return;
  const [pen, width, height] = fresh(canvas);
  const first = Math.floor(lanes.scrollTop / HIGH);
  const rows = points().slice(first, first + Math.ceil(height / HIGH) + 1);
  rows.forEach((point, k) => paintLane(pen, point, (first + k) * HIGH - lanes.scrollTop, width));
  paintCursor(pen, Math.min(height, points().length * HIGH - lanes.scrollTop), ink("--accent"));
  if (points().length === 0) paintEmpty(pen, width, height);
}

function paintEmpty(pen, width, height) {
  pen.font = `12px ${FONT}`;
  pen.textAlign = "center";
  pen.fillStyle = ink("--quiet");
  pen.fillText("Each point gets a lane here: how sure its track is, frame by frame.", width / 2, height / 2);
}

function paintLane(pen, point, top, width) {
  const chosen = point.id === state.chosen;
  if (chosen || state.selected.has(point.id)) {
    pen.fillStyle = ink(chosen ? "--chosen" : "--selected");
    pen.fillRect(0, top, width, HIGH);
  }
  paintName(pen, point, top, chosen);
  const track = state.tracks.get(point.id);
  pen.fillStyle = ink("--lane");
  pen.fillRect(across(0), top + (HIGH - BAR) / 2, across(state.video.frames) - across(0), BAR);
  if (track) paintTrack(pen, point, track, top);
  for (const t of handFrames(point)) paintDiamond(pen, middle(t), top + HIGH / 2, isTaught(point));
}

function paintName(pen, point, top, chosen) {
  pen.fillStyle = colourOf(point);
  pen.beginPath();
  pen.arc(15, top + HIGH / 2, 4, 0, 2 * Math.PI);
  pen.fill();
  pen.font = `${chosen ? "600 " : ""}12px ${FONT}`;
  pen.textAlign = "left";
  pen.fillStyle = ink("--text");
  pen.save();
  pen.beginPath();
  pen.rect(26, top, GUTTER - 46, HIGH);
  pen.clip();
  pen.fillText(nameOf(point), 26, top + HIGH / 2 + 4);
  pen.restore();
  if (!point.accepted) return;
  pen.fillStyle = ink("--accent");
  pen.fillText("✓", GUTTER - 18, top + HIGH / 2 + 4);
}

/** Frames of the same look are painted as one bar. */
function paintTrack(pen, point, track, top) {
  const flags = unsureFrames(point);
  const look = (t) => {
    if (flags[t]) return "unsure";
    const seen = track.visible[t] && !hiddenByHand(point, t);
    return seen ? Math.min(Math.floor(track.confidence[t] * 10), 9) : "hidden";
  };
  const { frames } = state.video;
  for (let from = 0, t = 1; t <= frames; t++) {
    if (t < frames && look(t) === look(from)) continue;
    paintBar(pen, look(from), across(from), (t - from) * cell(), top);
    from = t;
  }
}

function paintBar(pen, look, x, wide, top) {
  const y = top + (HIGH - BAR) / 2;
  if (look === "hidden") return hatch(pen, x, y, wide);
  if (look === "unsure") {
    pen.fillStyle = ink("--unsure");
    return pen.fillRect(x, y - 2, Math.max(wide, 2), BAR + 4);
  }
  pen.fillStyle = ink("--sure");
  pen.globalAlpha = 0.25 + (0.75 * Math.max(look - 5, 0)) / 4;
  pen.fillRect(x, y, wide, BAR);
  pen.globalAlpha = 1;
}

function hatch(pen, x, y, wide) {
  pen.save();
  pen.beginPath();
  pen.rect(x, y, wide, BAR);
  pen.clip();
  pen.strokeStyle = ink("--line-strong");
  pen.lineWidth = 1;
  pen.beginPath();
  for (let at = Math.floor((x - BAR) / 5) * 5; at < x + wide; at += 5) {
    pen.moveTo(at, y + BAR);
    pen.lineTo(at + BAR, y);
  }
  pen.stroke();
  pen.restore();
}

/** A diamond where a hand placed the point; full once it was taught. */
function paintDiamond(pen, x, y, taught) {
  pen.beginPath();
  for (const [right, down] of [[0, -6], [5, 0], [0, 6], [-5, 0]]) pen.lineTo(x + right, y + down);
  pen.closePath();
  pen.fillStyle = ink(taught ? "--accent" : "--panel");
  pen.fill();
  pen.lineWidth = 1.75;
  pen.strokeStyle = ink("--text");
  pen.stroke();
}

const rowAt = (event) => points()[Math.floor((event.offsetY + lanes.scrollTop) / HIGH)];

scrub(canvas, (event) => {
  const point = rowAt(event);
  if (!point) return false;
  choose(point.id, { add: event.shiftKey });
  return event.offsetX >= GUTTER && !event.shiftKey;
});
canvas.addEventListener("pointermove", (event) => {
  const point = state.video && rowAt(event);
  if (!point || event.offsetX < GUTTER) return void (canvas.title = point ? nameOf(point) : "");
  const t = frameAt(event.offsetX);
  const sure = state.tracks.get(point.id)?.confidence[t];
  const told = sure === undefined ? "" : `, confidence ${sure.toFixed(2)}`;
  canvas.title = `${nameOf(point)}, frame ${t}${told}`;
});
wheelSteps(lanes, (event) => event.shiftKey || lanes.scrollHeight <= lanes.clientHeight);
lanes.addEventListener("scroll", () => soon(paint));

/** Scrolls so far that the chosen lane is in view. */
function follow() {
  const place = points().findIndex(({ id }) => id === state.chosen);
  if (place < 0 || lanes.hidden) return;
  const [top, room] = [place * HIGH, lanes.clientHeight];
  if (top < lanes.scrollTop) lanes.scrollTop = top;
  else if (top + HIGH > lanes.scrollTop + room) lanes.scrollTop = top + HIGH - room;
}

on(["document"], () => (space.style.height = `${points().length * HIGH}px`));
on(["chosen", "below"], follow);
on(
  ["frame", "video", "document", "tracks", "chosen", "selected", "theme", "room", "below"],
  () => soon(paint),
);
