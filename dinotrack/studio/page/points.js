// The list of points: names and colours, changed in place; only the rows in view are there.

import { accept, choose, colour, goTo, neighbour, remove, rename, select } from "./actions.js";
import { soon } from "./paint.js";
import { colourOf, nameOf, on, pointOf, points, state } from "./state.js";
import { stretchesOf } from "./unsure.js";

const HIGH = 30; // px of a row
const found = (id) => document.getElementById(id);
const list = found("points");
const space = found("points-space");
let renaming = null; // id

// --- rows -----------------------------------------------------------------------------------------

function paint() {
  if (renaming !== null && pointOf(renaming)) return;
  const all = points();
  space.style.height = `${all.length * HIGH}px`;
  const first = Math.max(Math.floor(list.scrollTop / HIGH) - 2, 0);
  const rows = all.slice(first, first + Math.ceil(list.clientHeight / HIGH) + 5);
  const focused = document.activeElement?.closest?.("#points input[type=color]");
  if (focused) return refresh(rows, first);
  space.replaceChildren(...rows.map((point, k) => rowOf(point, first + k, all.length)));
  if (all.length === 0) space.append(empty());
  list.setAttribute("aria-activedescendant", pointOf(state.chosen) ? `row-${state.chosen}` : "");
}

/** While a colour is being picked, rows are changed as they are, so that the picker stays. */
function refresh(rows) {
  for (const point of rows) {
    const row = found(`row-${point.id}`);
    if (row) row.querySelector(".swatch").style.setProperty("--colour", colourOf(point));
  }
}

function empty() {
  const told = document.createElement("p");
  told.className = "quiet";
  told.textContent = "No points yet. Click in the frame on what you want to follow.";
  return told;
}

function rowOf(point, place, many) {
  const row = document.createElement("div");
  row.id = `row-${point.id}`;
  row.className = "point";
  row.setAttribute("role", "option");
  row.setAttribute("aria-selected", state.selected.has(point.id));
  row.setAttribute("aria-setsize", many);
  row.setAttribute("aria-posinset", place + 1);
  row.classList.toggle("chosen", point.id === state.chosen);
  row.style.top = `${place * HIGH}px`;
  const name = document.createElement("span");
  name.className = "name";
  name.textContent = nameOf(point);
  name.title = `${nameOf(point)}: double-click to rename`;
  row.append(swatch(point), name, stateOf(point), frameOf(point));
  row.addEventListener("click", (event) => pick(event, point));
  row.addEventListener("dblclick", (event) => event.target === name && beginRename(point.id));
  return row;
}

function swatch(point) {
  const label = document.createElement("label");
  label.className = "swatch";
  label.style.setProperty("--colour", colourOf(point));
  const input = document.createElement("input");
  input.type = "color";
  input.tabIndex = -1;
  input.value = hex(colourOf(point));
  input.title = "Colour";
  input.setAttribute("aria-label", `Colour of ${nameOf(point)}`);
  input.addEventListener("change", () => colour([point.id], input.value));
  input.addEventListener("input", () => label.style.setProperty("--colour", input.value));
  label.append(input);
  label.addEventListener("click", (event) => event.stopPropagation());
  return label;
}

const pen = document.createElement("canvas").getContext("2d");

/** A colour of any notation as #rrggbb, which the browser's picker asks for. */
function hex(colour) {
  pen.fillStyle = colour;
  return pen.fillStyle;
}

function stateOf(point) {
  const badge = document.createElement("span");
  const doubts = stretchesOf(point).length;
  badge.className = point.accepted ? "badge good" : doubts ? "badge bad" : "badge";
  badge.textContent = point.accepted ? "✓" : doubts || "";
  badge.title = point.accepted ? "Accepted" : doubts ? `${doubts} unsure stretches` : "";
  if (badge.title) badge.setAttribute("aria-label", badge.title);
  return badge;
}

function frameOf(point) {
  const button = document.createElement("button");
  button.className = "quiet";
  button.tabIndex = -1;
  button.textContent = `f ${point.t}`;
  button.title = `Go to frame ${point.t}, where it was placed`;
  button.addEventListener("click", () => goTo(point.t));
  return button;
}

// --- choosing -------------------------------------------------------------------------------------

function pick(event, point) {
  if (event.target.closest("input")) return;
  if (event.ctrlKey || event.metaKey) return choose(point.id, { add: true });
  if (!event.shiftKey || state.chosen === null) return choose(point.id);
  const ids = points().map(({ id }) => id);
  const ends = [ids.indexOf(state.chosen), ids.indexOf(point.id)].sort((a, b) => a - b);
  select(ids.slice(ends[0], ends[1] + 1));
}

list.addEventListener("keydown", (event) => {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (event.target !== list || !by || state.held?.by === "keys") {
    if (event.target === list && event.key === "Enter") beginRename(state.chosen);
    return;
  }
  event.preventDefault();
  neighbour(by);
});

function follow() {
  const place = points().findIndex(({ id }) => id === state.chosen);
  if (place < 0) return;
  const [top, room] = [place * HIGH, list.clientHeight];
  if (top < list.scrollTop) list.scrollTop = top;
  else if (top + HIGH > list.scrollTop + room) list.scrollTop = top + HIGH - room;
}

// --- renaming -------------------------------------------------------------------------------------

/** Puts a field in place of a point's name. Enter or leaving it keeps what was typed. */
export function beginRename(id) {
  const point = pointOf(id);
  if (!point) return;
  if (state.chosen !== id) choose(id);
  if (found(`row-${id}`)) openField(point);
  else setTimeout(() => openField(point), 50); // once its row is in view
}

function openField(point) {
  const row = found(`row-${point.id}`);
  if (!row) return;
  renaming = point.id;
  const field = document.createElement("input");
  field.className = "name";
  field.value = point.name ?? "";
  field.placeholder = nameOf(point);
  field.maxLength = 200;
  field.setAttribute("aria-label", `Name of ${nameOf(point)}`);
  row.querySelector(".name").replaceWith(field);
  field.select();
  const end = (keep) => {
    if (renaming === null) return;
    renaming = null;
    if (keep && field.value.trim() !== (point.name ?? "")) rename(point.id, field.value);
    list.focus({ preventScroll: true });
    paint();
  };
  field.addEventListener("keydown", (event) => {
    event.stopPropagation();
    if (event.key === "Enter" || event.key === "Escape") end(event.key === "Enter");
  });
  field.addEventListener("blur", () => end(true));
}

// --- several at once ------------------------------------------------------------------------------

function showBulk() {
  const many = state.selected.size;
  found("bulk").hidden = many < 2;
  found("bulk-count").textContent = `${many} selected`;
  found("point-count").textContent = points().length || "";
  found("point-count").hidden = many > 1;
}

found("bulk-colour").addEventListener("change", ({ target }) => {
  colour([...state.selected], target.value);
});
found("bulk-accept").addEventListener("click", accept);
found("bulk-remove").addEventListener("click", remove);

list.addEventListener("scroll", () => soon(paint));
new ResizeObserver(() => soon(paint)).observe(list);
on(["document", "selected"], showBulk);
on(["chosen"], follow);
on(["document", "tracks", "chosen", "selected"], () => soon(paint));
