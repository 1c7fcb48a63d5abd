// The viewer of a study: one canvas on which an image is windowed, with heat, contours and foci over it.
// Values come as 16-bit numbers and the window is laid over them here (PS3.3 C.11.2.1.2 and C.11.2.1.3). Coordinates of
// layers are pixels of the source, from the centre of the first one.
"use strict";

const PRESETS = { Lung: [-600, 1500], Mediastinum: [40, 400], Bone: [400, 1800] };
const KEPT_IMAGES = 80;
const AHEAD = 3; // slices fetched on either side of the one that is shown
const HEAT_COLOURS = new Uint8ClampedArray(4 * 256);
for (let at = 0; at < 256; at++) {
  const rgb = [3, 2, 1].map((place) => 255 * Math.min(1, Math.max(0, 1.5 - Math.abs((4 * at) / 255 - place))));
  HEAT_COLOURS.set([...rgb, at], 4 * at); // the hotter the less of the image is left, as in the delivered picture
}

function grey(image, window) {
  // 65536 greys, one for each stored number
  const table = new Uint8Array(65536);
  const { slope, intercept, padding, darkIsHigh, function: kind } = image.said;
  const { centre, width } = window;
  for (let stored = 0; stored < 65536; stored++) {
    const value = slope * stored + intercept;
    let level;
    if (kind === "SIGMOID") level = 1 / (1 + Math.exp((-4 * (value - centre)) / width));
    else if (kind === "LINEAR_EXACT") level = (value - centre) / width + 0.5;
    else if (width <= 1) level = value > centre - 0.5 ? 1 : 0;
    else level = (value - (centre - 0.5)) / (width - 1) + 0.5;
    level = Math.min(1, Math.max(0, level));
    table[stored] = Math.round(255 * (darkIsHigh ? 1 - level : level));
  }
  table[padding] = 0;
  return table;
}

class Store {
  // Images and layers by address; the ones used least recently go.
  constructor() {
    this.kept = new Map();
  }
  get(key, make) {
    const found = this.kept.get(key) ?? make();
    this.kept.delete(key);
    this.kept.set(key, found);
    found.catch(() => this.kept.delete(key));
    if (this.kept.size > KEPT_IMAGES) this.kept.delete(this.kept.keys().next().value);
    return found;
  }
}

async function fetched(address) {
  const answer = await fetch(address, { redirect: "error" });
  if (answer.ok) return answer;
  const said = await answer.json().catch(() => ({}));
  throw new Error(said.detail ?? "The image cannot be shown.");
}

async function imageOf(address) {
  const answer = await fetched(address);
  const said = JSON.parse(answer.headers.get("Lungnode-Image"));
  const values = new Uint16Array(await answer.arrayBuffer());
  return { said, values };
}

async function layersOf(address) {
  const found = await (await fetched(address)).json();
  const heat = {};
  for (const [system, content] of Object.entries(found.heat)) heat[system] = await heatOf(content);
  return { heat, contours: Object.values(found.contours).flat(), outlines: found.outlines };
}

async function heatOf(content) {
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  const pen = canvas.getContext("2d");
  pen.drawImage(bitmap, 0, 0);
  const pixels = pen.getImageData(0, 0, bitmap.width, bitmap.height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    pixels.data.set(HEAT_COLOURS.subarray(4 * pixels.data[at], 4 * pixels.data[at] + 4), at);
  }
  pen.putImageData(pixels, 0, 0);
  return canvas;
}

class Viewer {
  constructor(root, data) {
    this.data = data;
    this.screen = root.querySelector(".screen");
    this.canvas = root.querySelector("canvas");
    this.line = root.querySelector(".line");
    this.loading = root.querySelector(".loading");
    this.scale = root.querySelector(".scale");
    this.controls = Object.fromEntries([...root.querySelectorAll("[data-control]")].map((one) => [one.dataset.control, one]));
    this.opacityOut = root.querySelector("[data-out=opacity]");
    this.forSlice = root.querySelector(".for-slice");
    this.forStack = root.querySelector(".for-stack");
    this.store = new Store();
    this.stack = null;
    this.turn = 0;
    this.fit();
    this.fill();
    this.listen();
    new ResizeObserver(() => this.draw()).observe(this.screen);
    this.open(0);
  }

  fit() {
    this.zoom = 1;
    this.moved = { x: 0, y: 0 };
  }

  fill() {
    const { stack, system } = this.controls;
    this.data.stacks.forEach((one, at) => stack.add(new Option(`${at + 1}. ${one.label}`, at)));
    this.forStack.hidden = this.data.stacks.length < 2;
    this.data.systems.forEach((one) => system.add(new Option(one, one)));
  }

  listen() {
    const { controls, screen } = this;
    controls.stack.addEventListener("change", () => this.open(Number(controls.stack.value)));
    controls.slice.addEventListener("input", () => this.show(Number(controls.slice.value) - 1));
    controls.opacity.addEventListener("input", () => this.draw());
    for (const one of [controls.system, controls.foci, controls.contours]) one.addEventListener("change", () => this.draw());
    controls.preset.addEventListener("change", () => this.preset(controls.preset.value));
    for (const one of [controls.centre, controls.width]) one.addEventListener("change", () => this.typed());
    controls.closer.addEventListener("click", () => this.zoomBy(1.25));
    controls.further.addEventListener("click", () => this.zoomBy(0.8));
    controls.reset.addEventListener("click", () => this.reset());
    screen.addEventListener("keydown", (event) => this.key(event));
    screen.addEventListener("pointerdown", (event) => this.drag(event));
    screen.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    for (const button of document.querySelectorAll("[data-heat]")) {
      button.addEventListener("click", () => this.lead(button.dataset.heat));
    }
  }

  open(number) {
    this.stack = this.data.stacks[number];
    this.controls.stack.value = number;
    const presets = ["As sent", ...(this.stack.isCt ? Object.keys(PRESETS) : [])];
    this.controls.preset.replaceChildren(...presets.map((one) => new Option(one, one)));
    this.forSlice.hidden = this.stack.images.length < 2;
    this.controls.slice.max = this.stack.images.length;
    this.window = null;
    this.fit();
    const system = this.data.systems.find((one) => this.slicesWith(one).length);
    if (!this.controls.system.value && system) this.controls.system.value = system;
    const marked = this.slicesWith(this.controls.system.value);
    const focused = marked.filter((at) => this.fociAt(at, this.controls.system.value).length);
    const first = focused[Math.floor(focused.length / 2)] ?? marked[Math.floor(marked.length / 2)];
    this.show(first ?? Math.floor(this.stack.images.length / 2));
  }

  keyOf(at) {
    return this.stack.images[at].join("/");
  }

  slicesWith(system) {
    return this.stack.images.map((_, at) => at).filter((at) => this.data.heat[this.keyOf(at)]?.includes(system));
  }

  fociAt(at, system) {
    return (this.data.foci[this.keyOf(at)] ?? []).filter((one) => one[0] === system);
  }

  image(at) {
    const { study } = this.data;
    const address = `/studies/${study}/images/${this.stack.series}/${this.keyOf(at)}/values`;
    return this.store.get(address, () => imageOf(address));
  }

  layers(at) {
    if (!this.data.layers.includes(this.keyOf(at))) return Promise.resolve({ heat: {}, contours: [], outlines: {} });
    const address = `/studies/${this.data.study}/layers/${this.data.analysis}/${this.keyOf(at)}`;
    return this.store.get(address, () => layersOf(address));
  }

  async show(at) {
    const last = this.stack.images.length - 1;
    this.at = Math.min(last, Math.max(0, at));
    this.controls.slice.value = this.at + 1;
    const turn = ++this.turn;
    try {
      const [image, layers] = await Promise.all([this.image(this.at), this.layers(this.at)]);
      if (turn !== this.turn) return; // another one was asked for meanwhile
      this.shown = image;
      this.over = layers;
      this.window ??= this.usual();
      this.paint();
      this.loading.hidden = true;
      this.screen.dataset.shown = this.keyOf(this.at);
    } catch (error) {
      if (turn !== this.turn) return;
      this.loading.textContent = error.message;
      this.loading.hidden = false;
      return;
    }
    for (let step = 1; step <= AHEAD && turn === this.turn; step++) {
      for (const near of [this.at + step, this.at - step]) if (near >= 0 && near <= last) await this.image(near).catch(() => null);
    }
  }

  usual() {
    return { centre: this.shown.said.centre, width: this.shown.said.windowWidth };
  }

  // The image in its window, as a canvas of its own size; then everything else over it.
  paint() {
    const { said, values } = this.shown;
    const table = grey(this.shown, this.window);
    this.picture = new OffscreenCanvas(said.width, said.height);
    const pen = this.picture.getContext("2d");
    const pixels = pen.createImageData(said.width, said.height);
    const words = new Uint32Array(pixels.data.buffer);
    for (let at = 0; at < values.length; at++) words[at] = 0xff000000 | (table[values[at]] * 0x010101);
    pen.putImageData(pixels, 0, 0);
    const rounded = (value) => Number(value.toPrecision(6));
    if (document.activeElement !== this.controls.centre) this.controls.centre.value = rounded(this.window.centre);
    if (document.activeElement !== this.controls.width) this.controls.width.value = rounded(this.window.width);
    this.draw();
  }

  place() {
    const sharp = window.devicePixelRatio || 1;
    const wide = this.screen.clientWidth;
    const tall = this.screen.clientHeight;
    if (this.canvas.width !== Math.round(wide * sharp) || this.canvas.height !== Math.round(tall * sharp)) {
      this.canvas.width = Math.round(wide * sharp);
      this.canvas.height = Math.round(tall * sharp);
    }
    const { width, height } = this.shown.said;
    const scale = Math.min(wide / width, tall / height) * this.zoom;
    const x = (wide - width * scale) / 2 + this.moved.x;
    const y = (tall - height * scale) / 2 + this.moved.y;
    return { sharp, scale, x, y };
  }

  draw() {
    if (!this.picture) return;
    const { sharp, scale, x, y } = this.place();
    const { said } = this.shown;
    const pen = this.canvas.getContext("2d");
    pen.setTransform(1, 0, 0, 1, 0, 0);
    pen.fillStyle = "#000";
    pen.fillRect(0, 0, this.canvas.width, this.canvas.height);
    pen.setTransform(sharp * scale, 0, 0, sharp * scale, sharp * x, sharp * y);
    pen.imageSmoothingEnabled = scale < 3; // far in, pixels are shown as they are
    pen.imageSmoothingQuality = "high";
    pen.drawImage(this.picture, 0, 0);
    const system = this.controls.system.value;
    const heat = this.over.heat[system];
    if (heat) {
      pen.globalAlpha = this.controls.opacity.value / 100;
      pen.imageSmoothingEnabled = true;
      pen.drawImage(heat, 0, 0, said.width, said.height);
      pen.globalAlpha = 1;
    }
    pen.setTransform(sharp, 0, 0, sharp, 0, 0);
    const on = (point) => [x + (point[0] + 0.5) * said.across * scale, y + (point[1] + 0.5) * said.down * scale];
    if (this.controls.contours.checked) {
      for (const contour of this.over.contours) this.polygon(pen, contour.map(on), "#40e060");
      for (const outline of Object.values(this.over.outlines[system] ?? {})) this.polygon(pen, outline.map(on), "#fff");
    }
    if (this.controls.foci.checked) {
      for (const [, number, fx, fy] of this.fociAt(this.at, system)) this.focus(pen, on([fx, fy]), number);
    }
    this.scale.hidden = !heat;
    this.tell();
  }

  polygon(pen, points, colour) {
    pen.beginPath();
    points.forEach(([x, y], at) => (at ? pen.lineTo(x, y) : pen.moveTo(x, y)));
    pen.closePath();
    pen.lineWidth = 3;
    pen.strokeStyle = "rgba(0, 0, 0, 0.55)";
    pen.stroke();
    pen.lineWidth = 1.4;
    pen.strokeStyle = colour;
    pen.stroke();
  }

  focus(pen, [x, y], number) {
    for (const [colour, width] of [["#000", 3.5], ["#fff", 1.5]]) {
      pen.beginPath();
      for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
        pen.moveTo(x + 4 * dx, y + 4 * dy);
        pen.lineTo(x + 12 * dx, y + 12 * dy);
      }
      pen.strokeStyle = colour;
      pen.lineWidth = width;
      pen.stroke();
    }
    pen.font = "600 14px system-ui, sans-serif";
    pen.lineWidth = 3;
    pen.strokeStyle = "#000";
    pen.strokeText(number, x + 9, y - 8);
    pen.fillStyle = "#fff";
    pen.fillText(number, x + 9, y - 8);
  }

  tell() {
    const count = this.stack.images.length;
    const parts = count > 1 ? [`Slice ${this.at + 1} of ${count}`] : [];
    const system = this.controls.system.value;
    const foci = this.fociAt(this.at, system).length;
    if (system) parts.push(this.over.heat[system] ? `heat of ${system}, ${foci} ${foci === 1 ? "focus" : "foci"}` : `no heat of ${system} here`);
    parts.push(`window ${Math.round(this.window.centre)} / ${Math.round(this.window.width)}`);
    if (this.zoom !== 1) parts.push(`zoom ${Math.round(100 * this.zoom)} %`);
    const text = parts.join(" · ");
    if (this.line.textContent !== text) this.line.textContent = text;
    this.opacityOut.textContent = `${this.controls.opacity.value} %`;
  }

  setWindow(centre, width) {
    if (!this.shown) return;
    const least = this.shown.said.function === "LINEAR" ? 1 : 1e-6;
    this.window = { centre, width: Math.max(least, width) };
    this.repaint();
  }

  repaint() {
    if (this.waiting) return;
    this.waiting = requestAnimationFrame(() => {
      this.waiting = 0;
      this.paint();
    });
  }

  preset(name) {
    const { centre, width } = this.usual();
    this.setWindow(...(PRESETS[name] ?? [centre, width]));
  }

  typed() {
    const centre = this.controls.centre.valueAsNumber;
    const width = this.controls.width.valueAsNumber;
    if (Number.isFinite(centre) && Number.isFinite(width)) this.setWindow(centre, width);
  }

  zoomBy(factor) {
    this.zoom = Math.min(16, Math.max(0.5, this.zoom * factor));
    if (Math.abs(this.zoom - 1) < 0.01) this.fit();
    this.draw();
  }

  move(dx, dy) {
    this.moved = { x: this.moved.x + dx, y: this.moved.y + dy };
    this.draw();
  }

  reset() {
    this.fit();
    this.controls.preset.value = "As sent";
    if (this.shown) this.setWindow(this.usual().centre, this.usual().width);
  }

  toggle(name) {
    this.controls[name].checked = !this.controls[name].checked;
    this.draw();
  }

  // From the list of systems: its heat, on the image where there is most to see.
  lead(system) {
    this.controls.system.value = system;
    if (Number(this.controls.opacity.value) === 0) this.controls.opacity.value = 55;
    const stack = this.data.stacks.findIndex((one) => one.images.some((image) => this.data.heat[image.join("/")]?.includes(system)));
    if (!this.slicesWith(system).includes(this.at) && stack >= 0) this.open(stack);
    else this.draw();
    this.screen.scrollIntoView({ block: "nearest" });
    this.screen.focus({ preventScroll: true });
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || !this.shown) return;
    const { centre, width } = this.window;
    const step = Math.max(width, 1) / 20;
    const moves = { ArrowUp: [0, 40], ArrowDown: [0, -40], ArrowLeft: [40, 0], ArrowRight: [-40, 0] };
    const acts = {
      ArrowUp: () => this.setWindow(centre + step, width),
      ArrowDown: () => this.setWindow(centre - step, width),
      ArrowLeft: () => this.setWindow(centre, width / 1.1),
      ArrowRight: () => this.setWindow(centre, width * 1.1),
      PageUp: () => this.show(this.at + 1),
      PageDown: () => this.show(this.at - 1),
      Home: () => this.show(0),
      End: () => this.show(this.stack.images.length - 1),
      "+": () => this.zoomBy(1.25),
      "=": () => this.zoomBy(1.25),
      "-": () => this.zoomBy(0.8),
      h: () => {
        this.controls.opacity.value = Number(this.controls.opacity.value) ? 0 : 55;
        this.draw();
      },
      f: () => this.toggle("foci"),
      c: () => this.toggle("contours"),
      r: () => this.reset(),
    };
    const act = event.shiftKey && moves[event.key] ? () => this.move(...moves[event.key]) : acts[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  drag(start) {
    if (start.button !== 0 || !this.shown) return;
    const { centre, width } = this.window;
    const before = { ...this.moved };
    const per = Math.max(width, 1) / 400; // a width's worth in 400 pixels
    const follow = (event) => {
      const dx = event.clientX - start.clientX;
      const dy = event.clientY - start.clientY;
      if (start.shiftKey) {
        this.moved = { x: before.x + dx, y: before.y + dy };
        this.draw();
      } else this.setWindow(centre + dy * per, width + dx * per);
    };
    const end = () => {
      this.screen.removeEventListener("pointermove", follow);
      this.screen.removeEventListener("pointerup", end);
      this.screen.removeEventListener("pointercancel", end);
    };
    this.screen.setPointerCapture(start.pointerId);
    this.screen.addEventListener("pointermove", follow);
    this.screen.addEventListener("pointerup", end);
    this.screen.addEventListener("pointercancel", end);
  }

  wheel(event) {
    if (event.ctrlKey) {
      event.preventDefault();
      this.zoomBy(event.deltaY < 0 ? 1.1 : 1 / 1.1);
    } else if (this.stack.images.length > 1) {
      event.preventDefault();
      this.show(this.at + (event.deltaY < 0 ? 1 : -1));
    }
  }
}

const root = document.querySelector("[data-viewer]");
if (root) root.viewer = new Viewer(root, JSON.parse(document.getElementById("viewer-data").textContent));
