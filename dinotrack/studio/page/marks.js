// Paints points over the frame: where each is, the way it came, its name, and how it was before.

import { FONT } from "./paint.js";
import {
  colourOf, handAt, isVisible, nameOf, placeAt, points, state,
} from "./state.js";
import { ink } from "./theme.js";
import { unsureFrames } from "./unsure.js";
import { size, toScreen } from "./view.js";

const RADIUS = 4.5;
const DARK = "rgb(0 0 0 / 70%)";
const BANDS = 4; // steps in which a trail fades

/** The colour of confidence: red for none, amber in the middle, green-blue for all. */
export function confidenceColour(confidence) {
  const hue = confidence < 0.6 ? 8 + 40 * (confidence / 0.6) : 48 + 122 * ((confidence - 0.6) / 0.4);
  return `hsl(${hue} 85% 58%)`;
}

/** The colour of a point in a frame, as the Look panel wants it. */
export function drawnColour(point, t) {
  const { colouring } = state.look;
  if (colouring === "confidence") {
    const confidence = state.tracks.get(point.id)?.confidence[t];
    return confidence === undefined ? "white" : confidenceColour(confidence);
  }
  if (colouring === "place") {
    const { width, height } = state.video;
    return `hsl(${(360 * point.x) / width} 90% ${45 + (30 * point.y) / height}%)`;
  }
  return colourOf(point);
}

export function paintPoints(pen) {
  const { frame: t, look } = state;
  pen.lineCap = pen.lineJoin = "round";
  if (look.compare) for (const point of points()) paintBefore(pen, point, t);
  if (look.trail) for (const point of points()) paintTrail(pen, point, t);
  const late = [];
  for (const point of points()) {
    if (point.id === state.chosen) late.push(point);
    else paintPoint(pen, point, t);
  }
  for (const point of late) paintPoint(pen, point, t);
  for (const point of points()) if (wantsName(point)) paintName(pen, point, t);
}

const wantsName = ({ id }) => state.look.names || id === state.chosen || id === state.hover;

function line(pen, way) {
  pen.beginPath();
  let down = false;
  for (const place of way) {
    if (place && down) pen.lineTo(...toScreen(...place));
    else if (place) pen.moveTo(...toScreen(...place));
    down = Boolean(place);
  }
  pen.stroke();
}

function paintTrail(pen, point, t) {
  if (!state.tracks.has(point.id)) return;
  const long = Math.min(state.look.trail, t);
  const way = Array.from({ length: long + 1 }, (_, k) => {
    const then = t - long + k;
    return isVisible(point, then) ? placeAt(point, then) : null;
  });
  pen.strokeStyle = drawnColour(point, t);
  pen.lineWidth = point.id === state.chosen ? 2.25 : 1.5;
  const each = Math.ceil(long / BANDS);
  for (let band = 0; band < BANDS && band * each < long; band++) {
    pen.globalAlpha = (0.9 * (band + 1)) / BANDS;
    line(pen, way.slice(band * each, Math.min((band + 1) * each, long) + 1));
  }
  pen.globalAlpha = 1;
}

/** The track before the last change, dashed, around the frame in view. */
function paintBefore(pen, point, t) {
  const track = state.before.get(point.id);
  if (!track) return;
  const reach = Math.max(state.look.trail, 8);
  const from = Math.max(t - reach, 0);
  const way = track.xy
    .slice(from, t + reach + 1)
    .map((at, k) => (track.visible[from + k] ? at : null));
  for (const [wide, colour] of [[3.5, DARK], [1.5, drawnColour(point, t)]]) {
    pen.lineWidth = wide;
    pen.strokeStyle = colour;
    pen.setLineDash([4, 5]);
    line(pen, way);
  }
  pen.lineWidth = 1.5;
  pen.setLineDash([2, 2]);
  pen.beginPath();
  pen.arc(...toScreen(...track.xy[t]), RADIUS + 1, 0, 2 * Math.PI);
  pen.stroke();
  pen.setLineDash([]);
}

const onScreen = ([x, y]) => x > -20 && y > -20 && x < size()[0] + 20 && y < size()[1] + 20;

/** Where a point's mark is on the screen, or null where it is not drawn. */
export function markAt(point, t) {
  const place = placeAt(point, t);
  if (!place) return null;
  if (!isVisible(point, t) && state.look.hidden === "none" && point.id !== state.chosen) return null;
  return toScreen(...place);
}

function paintPoint(pen, point, t) {
  const mark = markAt(point, t);
  if (!mark || !onScreen(mark)) return;
  const seen = isVisible(point, t);
  const chosen = point.id === state.chosen;
  const colour = drawnColour(point, t);
  if (!seen && state.look.hidden === "faint") pen.globalAlpha = 0.35;
  outlineOf(pen, mark, handAt(point, t), chosen ? RADIUS + 1 : RADIUS);
  if (seen) {
    pen.lineWidth = 3;
    pen.strokeStyle = DARK;
    pen.stroke();
    pen.fillStyle = colour;
    pen.fill();
  } else {
    for (const [wide, ring] of [[4, DARK], [2, colour]]) {
      pen.lineWidth = wide;
      pen.strokeStyle = ring;
      pen.stroke();
    }
  }
  pen.globalAlpha = 1;
  const unsure = unsureFrames(point)?.[t];
  if (unsure) circle(pen, mark, RADIUS + (chosen ? 8.5 : 5), ink("--unsure"), [4, 3]);
  else if (chosen) circle(pen, mark, RADIUS + 8.5, "white", []);
  else if (state.selected.has(point.id) || point.id === state.hover) {
    circle(pen, mark, RADIUS + 3.5, "white", []);
  }
  if (chosen) {
    pen.fillStyle = "white";
    pen.fillRect(mark[0] - 1, mark[1] - 1, 2, 2);
  }
}

/** A diamond where a hand placed the point, a disc where it was tracked. */
function outlineOf(pen, [x, y], hand, radius) {
  pen.beginPath();
  if (!hand) return pen.arc(x, y, radius, 0, 2 * Math.PI);
  const far = radius * 1.35;
  for (const [right, down] of [[0, -far], [far, 0], [0, far], [-far, 0]]) {
    pen.lineTo(x + right, y + down);
  }
  pen.closePath();
}

function circle(pen, [x, y], radius, colour, dash) {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  pen.lineWidth = 3.5;
  pen.strokeStyle = DARK;
  pen.stroke();
  pen.setLineDash(dash);
  pen.lineWidth = 1.75;
  pen.strokeStyle = colour;
  pen.stroke();
  pen.setLineDash([]);
}

function paintName(pen, point, t) {
  const mark = markAt(point, t);
  if (!mark || !onScreen(mark)) return;
  pen.font = `600 12px ${FONT}`;
  pen.textAlign = "left";
  pen.lineWidth = 3.5;
  pen.strokeStyle = "rgb(0 0 0 / 75%)";
  const [x, y] = [mark[0] + 17, mark[1] + 4];
  pen.strokeText(nameOf(point), x, y);
  pen.fillStyle = "white";
  pen.fillText(nameOf(point), x, y);
}
