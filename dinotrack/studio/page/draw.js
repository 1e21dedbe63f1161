// Paints the frame, what lies over it, and what is being done with it.

import { frameAddress, overAddress, ready } from "./frames.js";
import { paintPoints } from "./marks.js";
import { fresh, FONT, soon } from "./paint.js";
import { on, state } from "./state.js";
import { ink } from "./theme.js";
import { canvas, toScreen } from "./view.js";

const PIXELS = 4; // from this scale on, pixels are shown as squares
const LOUPE = 62; // radius, px
const LOUPE_SCALE = 8;

let last = null; // the picture of the frame that was drawn last, for while the next one comes

function paint() {
  const [pen, width, height] = fresh(canvas);
  pen.fillStyle = ink("--backdrop");
  pen.fillRect(0, 0, width, height);
  if (!state.video) return;
  const bitmap = ready(frameAddress(state.frame));
  last = bitmap ?? (last?.width === state.video.width ? last : null);
  paintPictures(pen, state.view);
  paintPoints(pen);
  paintShape(pen);
  paintFill(pen);
  paintCross(pen, width, height);
}

function paintPictures(pen, { scale, left, top }) {
  const { width, height } = state.video;
  pen.imageSmoothingEnabled = scale < PIXELS;
  const place = [left, top, width * scale, height * scale];
  if (last) pen.drawImage(last, ...place);
  const address = overAddress();
  const over = address && ready(address);
  if (!over) return;
  pen.globalAlpha = state.look.opacity;
  pen.drawImage(over, ...place);
  pen.globalAlpha = 1;
}

function outline(pen, corners) {
  pen.beginPath();
  for (const [x, y] of corners) pen.lineTo(...toScreen(x, y));
  pen.closePath();
}

function paintShape(pen) {
  if (!state.shape) return;
  outline(pen, state.shape);
  pen.fillStyle = "rgb(255 255 255 / 12%)";
  pen.fill();
  pen.lineWidth = 3;
  pen.strokeStyle = "rgb(0 0 0 / 55%)";
  pen.stroke();
  pen.lineWidth = 1.25;
  pen.setLineDash([5, 4]);
  pen.strokeStyle = "white";
  pen.stroke();
  pen.setLineDash([]);
}

function paintFill(pen) {
  for (const [x, y] of state.fill ?? []) {
    pen.beginPath();
    pen.arc(...toScreen(x, y), 3, 0, 2 * Math.PI);
    pen.fillStyle = "white";
    pen.fill();
    pen.lineWidth = 1;
    pen.strokeStyle = "rgb(0 0 0 / 70%)";
    pen.stroke();
  }
}

/** The crosshair of placing and dragging, and the loupe beside it. */
function paintCross(pen, width, height) {
  const at = state.held ?? (state.tool === "place" && state.hover === null ? state.pointer : null);
  if (!at || state.held?.sent) return;
  const [x, y] = toScreen(at.x, at.y);
  const long = state.held?.by === "keys" ? Math.max(width, height) : 22;
  for (const [wide, colour] of [[3, "rgb(0 0 0 / 45%)"], [1, "white"]]) {
    pen.lineWidth = wide;
    pen.strokeStyle = colour;
    pen.beginPath();
    for (const [right, down] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
      pen.moveTo(x + 5 * right, y + 5 * down);
      pen.lineTo(x + long * right, y + long * down);
    }
    pen.stroke();
  }
  pen.fillStyle = "white";
  pen.fillRect(x - 0.75, y - 0.75, 1.5, 1.5);
  if (state.view.scale < LOUPE_SCALE) paintLoupe(pen, [x, y], at, width);
}

function paintLoupe(pen, [x, y], at, width) {
  if (!last) return;
  const far = LOUPE + 14;
  const right = x < width / 2;
  const middle = [right ? width - far : far, right ? far + 30 : far]; // below the zoom buttons
  const scale = Math.max(LOUPE_SCALE, 2 * state.view.scale);
  pen.save();
  pen.beginPath();
  pen.arc(...middle, LOUPE, 0, 2 * Math.PI);
  pen.lineWidth = 4;
  pen.strokeStyle = "rgb(0 0 0 / 60%)";
  pen.stroke();
  pen.fillStyle = ink("--backdrop");
  pen.fill();
  pen.clip();
  const left = middle[0] - (at.x + 0.5) * scale;
  const top = middle[1] - (at.y + 0.5) * scale;
  pen.imageSmoothingEnabled = false;
  pen.drawImage(last, left, top, last.width * scale, last.height * scale);
  pen.lineWidth = 1;
  pen.strokeStyle = "rgb(255 255 255 / 85%)";
  pen.beginPath();
  pen.moveTo(middle[0] - LOUPE, middle[1]);
  pen.lineTo(middle[0] + LOUPE, middle[1]);
  pen.moveTo(middle[0], middle[1] - LOUPE);
  pen.lineTo(middle[0], middle[1] + LOUPE);
  pen.stroke();
  pen.restore();
  pen.lineWidth = 1.5;
  pen.strokeStyle = "white";
  pen.beginPath();
  pen.arc(...middle, LOUPE, 0, 2 * Math.PI);
  pen.stroke();
  paintPosition(pen, middle, at);
}

function paintPosition(pen, [x, y], at) {
  const text = `${at.x.toFixed(2)}, ${at.y.toFixed(2)}`;
  pen.font = `600 11px ${FONT}`;
  pen.textAlign = "center";
  const wide = pen.measureText(text).width + 14;
  pen.fillStyle = "rgb(0 0 0 / 75%)";
  pen.beginPath();
  pen.roundRect(x - wide / 2, y + LOUPE - 9, wide, 18, 9);
  pen.fill();
  pen.fillStyle = "white";
  pen.fillText(text, x, y + LOUPE + 4);
}

on(
  [
    "video", "frame", "view", "document", "tracks", "before", "chosen", "selected", "hover", "held",
    "pointer", "shape", "fill", "look", "loaded", "theme", "tool", "versions",
  ],
  () => soon(paint),
);
