(() => {
  "use strict";
  const at = (id) => document.getElementById(id);
  const island = at("browsed");
  if (!island) return;
  const data = JSON.parse(island.textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const floats = (text) => {
    const raw = bytes(text), view = new DataView(raw.buffer), out = new Float32Array(raw.length / 4);
    for (let i = 0; i < out.length; i++) out[i] = view.getFloat32(4 * i, true);
    return out;
  };
  const xy = floats(data.xy), states = bytes(data.states), strips = bytes(data.strips);
  const truth = data.true ? floats(data.true) : null;
  const count = data.names.length, shown = data.frames.length, columns = data.columns.length;
  const picture = at("picture"), zoom = at("zoom"), list = at("list"), time = at("time");
  const pen = picture.getContext("2d"), lens = zoom.getContext("2d");
  const images = data.images.map((source) => { const image = new Image(); image.src = source; return image; });
  const rows = [];
  let point = 0, frame = 0, timer = 0;

  const place = (all, n, f) => [all[2 * (n * shown + f)], all[2 * (n * shown + f) + 1]];
  const visible = (n, f) => states[n * shown + f] > 127;
  const confidence = (n, f) => (states[n * shown + f] & 127) / (data.heat.length - 1);
  const nearest = (t) => data.frames.reduce(
    (best, other, f) => Math.abs(other - t) < Math.abs(data.frames[best] - t) ? f : best, 0);

  function ring(context, x, y, radius, colour, width) {
    for (const [shade, line] of [["#000", width + 2], [colour, width]]) {
      context.beginPath();
      context.arc(x, y, radius, 0, 7);
      context.strokeStyle = shade;
      context.lineWidth = line;
      context.stroke();
    }
  }

  function draw() {
    const image = images[frame];
    if (!image.complete || !image.naturalWidth) { image.onload = draw; return; }
    const width = image.naturalWidth, height = image.naturalHeight;
    const sharp = Math.max(1, Math.min(2, 1280 / width));
    if (picture.width !== Math.round(width * sharp)) {
      picture.width = Math.round(width * sharp);
      picture.height = Math.round(height * sharp);
    }
    const scale = picture.width / data.size[0];
    const spot = (all, n, f) => place(all, n, f).map((value) => (value + 0.5) * scale);
    const radius = Math.max(3, picture.width * 0.004);
    pen.drawImage(image, 0, 0, picture.width, picture.height);
    if (at("others").checked) {
      for (let n = 0; n < count; n++) {
        if (!visible(n, frame)) continue;
        pen.beginPath();
        pen.arc(...spot(xy, n, frame), radius * 0.8, 0, 7);
        pen.fillStyle = `rgb(${data.colours[n]})`;
        pen.fill();
      }
    }
    pen.beginPath();
    for (let f = Math.max(0, frame - 12); f < frame; f++) {
      if (!visible(point, f) || !visible(point, f + 1)) continue;
      pen.moveTo(...spot(xy, point, f));
      pen.lineTo(...spot(xy, point, f + 1));
    }
    pen.strokeStyle = "#fff";
    pen.lineWidth = 3;
    pen.stroke();
    const here = spot(xy, point, frame), seen = visible(point, frame);
    const known = truth ? spot(truth, point, frame) : [NaN, NaN];
    if (!Number.isNaN(known[0])) ring(pen, ...known, radius * 2.4, "#28dc3c", 3);
    pen.setLineDash(seen ? [] : [4, 4]);
    ring(pen, ...here, radius * 2.4, "#ff3228", 3);
    pen.setLineDash([]);
    magnify(image, here, known, scale);
    tell();
  }

  function magnify(image, here, known, scale) {
    const side = zoom.width, reach = picture.width / 9, more = side / reach;
    const [left, top] = here.map((value) => value - reach / 2);
    lens.fillStyle = "#222";
    lens.fillRect(0, 0, side, side);
    const size = [picture.width * more, picture.height * more];
    lens.drawImage(image, -left * more, -top * more, ...size);
    if (!Number.isNaN(known[0])) {
      ring(lens, (known[0] - left) * more, (known[1] - top) * more, 9, "#28dc3c", 3);
    }
    ring(lens, side / 2, side / 2, 9, "#ff3228", 3);
  }

  function tell() {
    const t = data.frames[frame], [x, y] = place(xy, point, frame);
    at("clock").textContent = `frame ${t} of ${data.length - 1}`;
    const plain = `point ${data.numbers[point]}`, name = data.names[point];
    at("about").textContent = `${name === plain ? name : `${name} (${plain})`}, frame ${t}: ` +
      `x ${x.toFixed(1)}, y ${y.toFixed(1)}, ${visible(point, frame) ? "visible" : "hidden"}, ` +
      `confidence ${confidence(point, frame).toFixed(2)}`;
    list.style.setProperty("--now", `${100 * (t + 0.5) / data.length}%`);
  }

  function choose(n, f) {
    rows[point].setAttribute("aria-pressed", "false");
    point = n;
    frame = Math.max(0, Math.min(shown - 1, f));
    rows[point].setAttribute("aria-pressed", "true");
    time.value = frame;
    draw();
  }

  function strip(n) {
    const canvas = document.createElement("canvas");
    canvas.width = columns;
    canvas.height = 1;
    const context = canvas.getContext("2d"), cells = context.createImageData(columns, 1);
    for (let c = 0; c < columns; c++) {
      const state = strips[n * columns + c], level = state & 127;
      const grey = 190 - 70 * level / (data.heat.length - 1);
      const colour = state > 127 ? data.heat[level] : [grey, grey, grey + 6];
      cells.data.set([...colour, 255], 4 * c);
    }
    context.putImageData(cells, 0, 0);
    return canvas;
  }

  function add(kind, parent, name, text) {
    const made = document.createElement(kind);
    if (name) made.className = name;
    if (text !== undefined) made.textContent = text;
    parent.append(made);
    return made;
  }

  function row(n) {
    const made = document.createElement("button");
    made.type = "button";
    made.className = "track";
    made.setAttribute("aria-pressed", "false");
    const words = add("div", made, "words");
    add("b", words, "", data.names[n]);
    const error = data.errors && data.errors[n] !== null ? `${data.errors[n].toFixed(1)} px off, ` : "";
    add("span", words, "", `${error}confidence ${data.means[n]} %, seen ${data.shares[n]} %`);
    const band = add("div", made, "strip");
    band.append(strip(n));
    made.addEventListener("click", (event) => {
      const box = band.getBoundingClientRect();
      const share = (event.clientX - box.left) / box.width;
      const on = event.detail > 0 && event.clientY >= box.top - 3 && share >= 0 && share <= 1;
      choose(n, on ? nearest(Math.floor(share * data.length)) : nearest(data.asked[n]));
    });
    return made;
  }

  const every = [...Array(count).keys()];
  const orders = {
    worst: () => every,
    best: () => [...every].reverse(),
    hidden: () => [...every].sort((a, b) => data.shares[a] - data.shares[b]),
    number: () => [...every].sort((a, b) => data.numbers[a] - data.numbers[b]),
  };

  function arrange() {
    const wanted = at("search").value.toLowerCase();
    const kept = orders[at("sort").value]().filter((n) => data.names[n].toLowerCase().includes(wanted));
    list.replaceChildren(...kept.map((n) => rows[n]));
  }

  function play() {
    if (timer) { clearInterval(timer); timer = 0; at("play").textContent = "\u25b6"; return; }
    at("play").textContent = "\u275a\u275a";
    timer = setInterval(() => choose(point, (frame + 1) % shown), 90);
  }

  for (const n of every) rows.push(row(n));
  time.max = shown - 1;
  time.addEventListener("input", () => choose(point, Number(time.value)));
  at("play").addEventListener("click", play);
  at("others").addEventListener("change", draw);
  at("sort").addEventListener("change", arrange);
  at("search").addEventListener("input", arrange);
  list.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    const ordered = [...list.children], place = ordered.indexOf(rows[point]) + move[0];
    const next = ordered[Math.max(0, Math.min(ordered.length - 1, place))] || rows[point];
    choose(rows.indexOf(next), frame + move[1]);
    next.focus();
  });
  arrange();
  choose(0, nearest(data.asked[0]));
})();
