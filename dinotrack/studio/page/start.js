// The first page: drop a video, or go on with a project.

import { attempt } from "./actions.js";
import * as api from "./api.js";
import { change, on, state } from "./state.js";
import { close, open } from "./sync.js";
import { counted } from "./words.js";

const found = (id) => document.getElementById(id);

/** The address names the project, so that a reload or a second tab opens the same one. */
const named = () => decodeURIComponent(location.hash.slice(1));

async function showStart() {
  close();
  document.title = "dinotrack studio";
  found("studio").hidden = true;
  found("opening").hidden = true;
  found("start").hidden = false;
  const came = await attempt(() => api.get("/api/projects"));
  if (!came || named()) return;
  found("projects").replaceChildren(...came.projects.map(card));
  found("projects-head").hidden = came.projects.length === 0;
}

function card({ id, name, frames, size, fitted, points }) {
  const item = document.createElement("li");
  const link = document.createElement("a");
  link.href = `#${encodeURIComponent(id)}`;
  const title = document.createElement("strong");
  title.textContent = name;
  const about = document.createElement("span");
  about.className = "quiet";
  const parts = [
    size && `${size[0]} × ${size[1]}`, frames && `${frames} frames`,
    counted(points, "point"), fitted ? "fitted" : "not fitted yet",
  ];
  about.textContent = parts.filter(Boolean).join(", ");
  link.append(title, about);
  item.append(link);
  return item;
}

function route() {
  if (!named()) return showStart();
  found("start").hidden = true;
  found("studio").hidden = true;
  found("opening").hidden = false;
  open(named());
}

on(["project"], () => {
  if (!state.project) return;
  found("opening").hidden = true;
  found("studio").hidden = false;
});

// --- a video comes in -----------------------------------------------------------------------------

async function take(file) {
  if (!file) return;
  if (named()) location.hash = "";
  const bar = found("drop-progress");
  bar.hidden = false;
  change({ problem: null });
  const id = await attempt(() => api.upload(file, (share) => {
    bar.value = share;
    found("drop-what").textContent = share < 1 ? `Sending ${file.name}` : `Reading ${file.name}`;
  }));
  bar.hidden = true;
  found("drop-what").textContent = "Drop a video here, or choose one";
  found("file").value = "";
  if (id) location.hash = encodeURIComponent(id);
}

found("file").addEventListener("change", ({ target }) => take(target.files[0]));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) document.body.classList.remove("dropping");
});
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  take(event.dataTransfer.files[0]);
});

on(["settings"], () => {
  if (!state.settings) return;
  const { max_upload: bytes, max_frames: frames } = state.settings;
  const size = bytes >= 1e9 ? `${Number((bytes / 2 ** 30).toFixed(1))} GB` : `${Math.round(bytes / 2 ** 20)} MB`;
  found("drop-limits").textContent = `Up to ${size} and ${frames.toLocaleString("en")} frames. It stays on this computer.`;
});

found("home").addEventListener("click", () => {
  location.hash = "";
});
addEventListener("hashchange", route);

/** Opens what the address names, or else the project of the command line, or the first page. */
export async function begin() {
  const settings = await attempt(() => api.get("/api/settings"));
  if (settings) change({ settings });
  if (!named()) {
    const came = await attempt(() => api.get("/api/projects"));
    if (came?.opened) {
      history.replaceState(null, "", `#${encodeURIComponent(came.opened)}`);
    }
  }
  route();
}
