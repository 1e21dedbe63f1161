// Curves: x, y and confidence of the chosen point over time, and the losses of the fit.

import { across, GUTTER, middle, paintCursor, scrub, wheelSteps } from "./axis.js";
import { FONT, fresh, niceStep, soon } from "./paint.js";
import { chosenPoint, confidenceAt, handAt, handFrames, isVisible, nameOf, on, placeAt, state } from "./state.js";
import { ink } from "./theme.js";
import { LEVEL, unsureFrames } from "./unsure.js";

const canvas = document.getElementById("curves-canvas");
const PAD = 7;

function paint() {
  if (!state.video || state.below !== "curves") return;
  const [pen, width, height] = fresh(canvas);
  const point = chosenPoint();
  const track = point && state.tracks.get(point.id);
  if (!track) return paintEmpty(pen, width, height, point);
  const high = height / 3;
  paintDoubts(pen, point, height);
  const now = placeAt(point, state.frame);
  const sure = confidenceAt(point, state.frame);
  const before = state.look.compare ? state.before.get(point.id) : null;
  ["x", "y"].forEach((name, axis) => {
    const values = track.xy.map((at, t) => (placeAt(point, t) ?? at)[axis]);
    const old = before?.xy.map((at) => at[axis]);
    const hands = handFrames(point).map((t) => [t, handAt(point, t)[axis]]);
    const range = rangeOf(old ? [...values, ...old] : values);
    paintCurve(pen, point, { name, now: now[axis].toFixed(2), values, old, hands, range }, high * axis, high);
  });
  const confidence = { name: "sure", now: sure.toFixed(2), values: track.confidence,
    old: before?.confidence, hands: [], range: [0, 1], level: LEVEL };
  paintCurve(pen, point, confidence, 2 * high, high);
  paintCursor(pen, height, ink("--accent"));
}

function paintEmpty(pen, width, height, point) {
  pen.font = `12px ${FONT}`;
  pen.textAlign = "center";
  pen.fillStyle = ink("--quiet");
  const text = point
    ? `${nameOf(point)} has no track yet: its x, y and confidence come with the fit.`
    : "Choose a point to see its x, y and confidence over time.";
  pen.fillText(text, width / 2, height / 2);
}

function rangeOf(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const more = Math.max(high - low, 4) * 0.08;
  return [low - more, high + more];
}

function paintDoubts(pen, point, height) {
  pen.fillStyle = ink("--unsure-faint");
  unsureFrames(point).forEach((flag, t) => {
    if (flag) pen.fillRect(across(t), 0, across(t + 1) - across(t), height);
  });
}

function paintCurve(pen, point, { name, now, values, old, hands, range, level }, top, high) {
  const [low, most] = range;
  const down = (value) => top + high - PAD - ((value - low) / (most - low)) * (high - 2 * PAD);
  const end = across(state.video.frames);
  pen.fillStyle = ink("--line");
  pen.fillRect(0, top + high - 1, end, 1);
  paintLabel(pen, name, now, top + high / 2);
  paintScale(pen, range, down, high);
  if (level) {
    pen.strokeStyle = ink("--line-strong");
    pen.setLineDash([3, 4]);
    stroke(pen, [[GUTTER, down(level)], [end, down(level)]]);
    pen.setLineDash([]);
  }
  const way = (list) => list.map((value, t) => [middle(t), down(value)]);
  pen.lineWidth = 1.25;
  if (old) {
    pen.strokeStyle = ink("--quiet");
    pen.setLineDash([4, 4]);
    stroke(pen, way(old));
    pen.setLineDash([]);
  }
  pen.strokeStyle = ink("--line-strong");
  stroke(pen, way(values));
  pen.lineWidth = 1.75;
  pen.strokeStyle = ink("--accent");
  stroke(pen, way(values).map((at, t) => (isVisible(point, t) ? at : null)));
  for (const [t, value] of hands) paintDiamond(pen, middle(t), down(value));
}

function paintLabel(pen, name, now, y) {
  pen.textAlign = "left";
  pen.font = `600 12px ${FONT}`;
  pen.fillStyle = ink("--quiet");
  pen.fillText(name, 14, y + 4);
  pen.font = `12px ${FONT}`;
  pen.fillStyle = ink("--text");
  pen.fillText(now, 46, y + 4);
}

function paintScale(pen, [low, most], down, high) {
  if (high < 34) return;
  const every = niceStep(most - low, Math.max(high / 18, 1));
  pen.font = `10px ${FONT}`;
  pen.textAlign = "right";
  pen.fillStyle = ink("--quiet");
  for (let value = Math.ceil(low / every) * every; value <= most; value += every) {
    const text = every < 1 ? value.toFixed(1) : String(Math.round(value));
    pen.fillText(text, GUTTER - 8, Math.min(down(value) + 3.5, down(low) - 1));
  }
}

function paintDiamond(pen, x, y) {
  pen.beginPath();
  for (const [right, down] of [[0, -5], [4, 0], [0, 5], [-4, 0]]) pen.lineTo(x + right, y + down);
  pen.closePath();
  pen.fillStyle = ink("--panel");
  pen.fill();
  pen.lineWidth = 1.5;
  pen.strokeStyle = ink("--text");
  pen.stroke();
}

/** A line through places; null breaks it. */
function stroke(pen, way) {
  pen.beginPath();
  let down = false;
  for (const at of way) {
    if (at && down) pen.lineTo(...at);
    else if (at) pen.moveTo(...at);
    down = Boolean(at);
  }
  pen.stroke();
}

scrub(canvas);
wheelSteps(canvas);
on(
  ["frame", "video", "document", "tracks", "before", "chosen", "theme", "room", "below", "look", "held"],
  () => soon(paint),
);

// --- losses ---------------------------------------------------------------------------------------

const SMOOTH = 120; // places along the axis that a loss is averaged for

/** Paints losses by step on a logarithmic scale; returns the names and colours of the lines. */
export function paintLosses(target, losses) {
  const [pen, width, height] = fresh(target);
  const lines = Object.entries(losses).map(([name, values]) => [name, smooth(values)]);
  const positive = lines.flatMap(([, values]) => values).filter((value) => value > 0);
  if (positive.length === 0) return [];
  const [low, high] = [Math.log10(Math.min(...positive)), Math.log10(Math.max(...positive))];
  const down = (value) =>
    height - 4 - ((Math.log10(value) - low) / Math.max(high - low, 0.1)) * (height - 8);
  pen.lineWidth = 1.5;
  return lines.map(([name, values], k) => {
    const colour = ink(`--series-${(k % 6) + 1}`);
    pen.strokeStyle = colour;
    const wide = width / Math.max(values.length - 1, 1);
    stroke(pen, values.map((value, n) => (value > 0 ? [n * wide, down(value)] : null)));
    return [name, colour];
  });
}

function smooth(values) {
  const each = Math.max(Math.ceil(values.length / SMOOTH), 1);
  return Array.from({ length: Math.ceil(values.length / each) }, (_, k) => {
    const part = values.slice(k * each, (k + 1) * each).filter(Number.isFinite);
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
}
