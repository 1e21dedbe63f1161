// All keys: one table, which the help sheet shows and docs/studio.md repeats.

import * as does from "./actions.js";
import { showSheet } from "./dialogs.js";
import { openMenu } from "./menu.js";
import { beginRename } from "./points.js";
import { change, chosenPoint, lastFrame, on, placeAt, state } from "./state.js";
import { drop, leave } from "./tools.js";
import { canvas, keepInView, showWhole, toScreen, toVideo, zoom, zoomTo } from "./view.js";

const AGO = -1;
const ON = 1;

// Each row: what presses it ("ctrl " before it for Control or Command), how it is shown, what it
// does in words, and the doing; without the doing, it is told of here and done elsewhere.
const GROUPS = [
  ["Time", [
    [["ArrowLeft"], "←", "A frame back", () => does.step(AGO)],
    [["ArrowRight"], "→", "A frame on", () => does.step(ON)],
    [["shift ArrowLeft", "PageUp"], "Shift ← / Page Up", "Ten frames back", () => does.step(-10)],
    [["shift ArrowRight", "PageDown"], "Shift → / Page Down", "Ten frames on", () => does.step(10)],
    [[","], ", / .", "A frame back or on, while a crosshair has the arrows", () => does.step(AGO)],
    [["."], null, null, () => does.step(ON)],
    [["Home"], "Home / End", "The first frame, the last one", () => does.goTo(0)],
    [["End"], null, null, () => does.goTo(lastFrame())],
    [[" "], "Space", "Play or pause", does.playOrPause],
    [["n"], "N / Shift N", "Next or previous unsure frame", () => does.nextUnsure(ON)],
    [["N"], null, null, () => does.nextUnsure(AGO)],
  ]],
  ["Place", [
    [["p"], "P", "A crosshair: arrows move it, Enter places a point", aim],
    [[], "Shift ↑ / Ctrl ↑", "Move a crosshair by 0.1 px, by 10 px"],
    [["d"], "D", "Move the chosen point with the arrows; Enter keeps it", grab],
    [["b"], "B / L / G", "Fill a box, a lasso, or the frame with points", () => does.useTool("box")],
    [["l"], null, null, () => does.useTool("lasso")],
    [["g"], null, null, () => does.useTool("grid")],
    [["v", "Escape"], "V / Esc", "Leave that: choose and drag", () => leaveAll()],
  ]],
  ["Points", [
    [["["], "[ / ]", "Previous or next point", () => does.neighbour(AGO)],
    [["]"], null, null, () => does.neighbour(ON)],
    [["F2"], "F2", "Rename the chosen point", () => beginRename(state.chosen)],
    [["ContextMenu", "shift F10"], "Menu", "All that can be done with it", menuOfChosen],
    [["ctrl a"], "Ctrl A", "Select all points", () => does.selectAll()],
    [["Delete"], "Delete", "Remove the selected points", does.remove],
  ]],
  ["Mend", [
    [["h"], "H", "Hidden in this frame, or no longer", does.hideHere],
    [["x"], "X", "Cut: hidden from this frame on", does.cutHere],
    [["Backspace"], "Backspace", "Delete the correction in this frame", does.uncorrect],
    [["a"], "A", "Accept the track as it is", does.accept],
    [["t"], "T", "Teach all corrections", does.teach],
    [["ctrl z"], "Ctrl Z", "Undo", does.undo],
    [["ctrl Z", "ctrl y"], "Ctrl Shift Z", "Redo", does.redo],
  ]],
  ["Fit and look", [
    [["f"], "F", "Fit, or stop", does.fitOrStop],
    [["c"], "C", "Compare with before the last change", does.compare],
    [["m"], "M", "Where the chosen point is found", does.correspondence],
    [["+", "="], "+ / −", "Larger or smaller", () => zoom(1.25)],
    [["-"], null, null, () => zoom(0.8)],
    [["0"], "0 / 1", "The whole frame; one pixel for each pixel", showWhole],
    [["1"], null, null, () => zoomTo(1)],
    [["?"], "?", "This sheet", () => help()],
  ]],
  ["Mouse", [
    [[], "Drag", "Move a point (a correction, or in its own frame its place), or the picture"],
    [[], "Shift Click / Shift Drag", "Select several points"],
    [[], "Middle Drag / Alt Drag", "Move the picture, whatever the tool"],
    [[], "Right Click", "The menu of a point"],
    [[], "Wheel", "Zoom at the cursor; over the time, step through frames"],
    [[], "Shift Wheel / Alt Wheel", "Step through frames; move the picture"],
  ]],
];

export function help() {
  showSheet(GROUPS.map(([title, rows]) => [
    title, rows.filter(([, keys]) => keys).map(([, keys, what]) => [keys, what]),
  ]));
}

// --- the crosshair --------------------------------------------------------------------------------

const hold = (id, [x, y]) => {
  const [insideX, insideY] = does.inside(x, y);
  change({ playing: false, held: { id, t: state.frame, x: insideX, y: insideY, by: "keys" } });
  keepInView(insideX, insideY);
};

function aim() {
  does.useTool("place");
  const middle = toVideo(canvas.clientWidth / 2, canvas.clientHeight / 2);
  const { x, y } = state.pointer ?? { x: Math.round(middle[0]), y: Math.round(middle[1]) };
  hold(null, [x, y]);
  canvas.focus({ preventScroll: true });
}

function grab() {
  const point = chosenPoint();
  if (!point) return;
  does.useTool("move");
  hold(point.id, placeAt(point, state.frame) ?? [point.x, point.y]);
  canvas.focus({ preventScroll: true });
}

const WAYS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** What arrows and Enter do while a crosshair is out; whether this key was one of them. */
function steer(event) {
  const { held } = state;
  if (held?.by !== "keys" || held.sent) return false;
  if (event.key in WAYS) {
    const far = event.shiftKey ? 0.1 : event.ctrlKey || event.metaKey ? 10 : 1;
    const [right, down] = WAYS[event.key];
    hold(held.id, [held.x + far * right, held.y + far * down]);
    const { x, y } = state.held;
    does.tell(`${x.toFixed(2)}, ${y.toFixed(2)}`);
    return true;
  }
  if (event.key !== "Enter") return false;
  drop().then(() => held.id === null && state.tool === "place" && hold(null, [held.x, held.y]));
  return true;
}

function leaveAll() {
  leave();
  does.useTool("move");
}

function menuOfChosen() {
  const point = chosenPoint();
  if (!point) return;
  const box = canvas.getBoundingClientRect();
  const [x, y] = toScreen(...(placeAt(point, state.frame) ?? [0, 0]));
  openMenu(box.left + x + 12, box.top + y + 12);
}

// --- listening ------------------------------------------------------------------------------------

const TABLE = new Map(
  GROUPS.flatMap(([, rows]) => rows.flatMap(([keys, , , act]) => keys.map((key) => [key, act]))),
);

/** How a press is written in the table. */
function written({ key, shiftKey, ctrlKey, metaKey }) {
  const named = key.length > 1 || key === " ";
  const cased = named ? key : shiftKey ? key.toUpperCase() : key.toLowerCase(); // caps lock or not
  return `${ctrlKey || metaKey ? "ctrl " : ""}${shiftKey && named ? "shift " : ""}${cased}`;
}

/** Whether a press belongs to what has the focus: a field, or a button that it presses. */
function isTheirs({ target, key }) {
  if (target.closest("dialog, [role=menu], input:not([type=checkbox]), select, textarea")) return true;
  const pressed = key === " " || key === "Enter";
  return pressed && Boolean(target.closest("button, a, label, input"));
}

document.addEventListener("keydown", (event) => {
  if (!state.video || event.altKey || event.defaultPrevented) return;
  if (event.key === "Escape" && state.fill) leaveAll();
  if (event.key === "Escape" && event.target.matches("input, select")) event.target.blur();
  if (isTheirs(event)) return;
  const act = TABLE.get(written(event));
  if (!steer(event)) {
    if (!act) return;
    act();
  }
  event.preventDefault();
});

document.getElementById("help").addEventListener("click", help);

on(["frame"], () => { // a crosshair goes along when the frame changes
  const { held, frame } = state;
  if (held?.by === "keys" && !held.sent && held.t !== frame) change({ held: { ...held, t: frame } });
});
