"use strict";
// Linked maps of one section on canvases: the slide's picture or its tiles below, spots coloured by their levels above.
const LEVELS = 254, MISSING = 255, RING = "#d55e00", TILES_HELD = 500, MANY = 5000;
const STOPS = {
  // Cividis and PuOr of matplotlib and ColorBrewer: both can be told apart by the colour-blind.
  value: ["#00204c", "#002a66", "#00346e", "#273f6c", "#3c4a6b", "#4c556b", "#5b5f6d", "#686a70", "#757575", "#838178",
    "#928c78", "#a19876", "#b0a572", "#c0b16d", "#d1bf66", "#e1cc5c", "#f3db4f", "#ffe945"],
  difference: ["#2d004b", "#542788", "#8073ac", "#b2abd2", "#d8daeb", "#f7f7f7", "#fee0b6", "#fdb863", "#e08214", "#b35806",
    "#7f3b08"],
};
const COLOURS = Object.fromEntries(Object.entries(STOPS).map(([name, stops]) => {
  const parts = stops.map((stop) => [1, 3, 5].map((at) => parseInt(stop.slice(at, at + 2), 16)));
  const found = Array.from({ length: LEVELS + 1 }, (_, level) => {
    const place = (level / LEVELS) * (parts.length - 1), first = Math.min(Math.floor(place), parts.length - 2);
    return parts[first].map((part, channel) => Math.round(part + (parts[first + 1][channel] - part) * (place - first)));
  });
  found.push([128, 128, 128]);
  const css = found.map(([r, g, b], level) => `rgba(${r},${g},${b},${level === MISSING ? 0.35 : 1})`);
  // As the bytes of an image lie in memory: red first.
  const packed = Uint32Array.from(found, ([r, g, b], level) => ((level === MISSING ? 90 : 255) << 24 | b << 16 | g << 8 | r) >>> 0);
  return [name, { css, packed }];
}));

class Maps {
  constructor(holder, { choose, words }) {
    this.holder = holder;
    this.words = words;
    this.panes = [];
    this.view = { x: 0, y: 0, unit: 1 };
    this.opacity = 0.95;
    this.swipe = 0.5;
    this.swiping = false;
    this.home = false;
    this.chosen = this.hovered = -1;
    this.tiles = new Map();
    this.tip = document.createElement("div");
    this.tip.className = "tip";
    this.tip.hidden = true;
    holder.append(this.tip);
    this.points = new Map();
    holder.addEventListener("wheel", (turn) => {
      if (!this.over(turn)) return;
      turn.preventDefault();
      this.zoom(Math.exp(Math.max(-200, Math.min(200, turn.deltaY)) * 0.0025), ...this.over(turn));
    }, { passive: false });
    holder.addEventListener("pointerdown", (down) => {
      if (down.button || !down.target.closest("canvas")) return;
      down.target.setPointerCapture(down.pointerId);
      this.points.set(down.pointerId, { x: down.clientX, y: down.clientY, moved: 0 });
    });
    holder.addEventListener("pointermove", (moved) => this.dragged(moved));
    for (const end of ["pointerup", "pointercancel"]) {
      holder.addEventListener(end, (up) => {
        const point = this.points.get(up.pointerId);
        this.points.delete(up.pointerId);
        if (point && point.moved < 4 && end === "pointerup") choose(this.nearest(...this.over(up)));
      });
    }
    holder.addEventListener("pointerleave", () => this.hover(-1));
    new ResizeObserver(() => this.redraw()).observe(holder);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.redraw());
  }

  // What is drawn: `section` has size, x, y, radius, mpp, image, tiles; of each pane are given
  // a title, and where values are shown their levels, their palette and the two ends of its scale, in words.
  load(section) {
    this.section = section;
    this.chosen = this.hovered = -1;
    this.tiles.clear();
  }
  show(panes) {
    while (this.panes.length > panes.length) this.panes.pop().figure.remove();
    while (this.panes.length < panes.length) this.panes.push(this.pane());
    this.holder.dataset.panes = panes.length;
    panes.forEach((shown, number) => {
      const pane = this.panes[number];
      Object.assign(pane, { levels: shown.levels, colours: COLOURS[shown.palette || "value"], order: null });
      pane.title.textContent = shown.title;
      pane.key.hidden = !shown.levels;
      pane.low.textContent = shown.low;
      pane.high.textContent = shown.high;
      pane.bar.style.background = `linear-gradient(to right, ${STOPS[shown.palette || "value"].join(",")})`;
      pane.canvas.setAttribute("aria-label", shown.title);
      if (shown.levels) this.sort(pane);
    });
    this.redraw();
  }
  pane() {
    const made = (name, inside, attributes = {}) => {
      const found = document.createElement(name);
      for (const [key, value] of Object.entries(attributes)) found.setAttribute(key, value);
      inside.append(found);
      return found;
    };
    const figure = made("figure", this.holder), caption = made("figcaption", figure), title = made("span", caption);
    const key = made("span", caption, { class: "key" });
    const low = made("span", key), bar = made("span", key, { class: "bar" }), high = made("span", key);
    const frame = made("div", figure, { class: "frame" });
    const canvas = made("canvas", frame, { role: "img" }), scale = made("div", frame, { class: "scale" });
    return { figure, title, key, low, bar, high, frame, canvas, scale };
  }
  // Spots by level, so that each colour is set once.
  sort(pane) {
    const starts = new Int32Array(MISSING + 2), { levels } = pane;
    for (let spot = 0; spot < levels.length; spot++) starts[levels[spot] + 1]++;
    for (let level = 0; level <= MISSING; level++) starts[level + 1] += starts[level];
    const next = starts.slice(), order = new Int32Array(levels.length);
    for (let spot = 0; spot < levels.length; spot++) order[next[levels[spot]]++] = spot;
    Object.assign(pane, { starts, order });
  }

  // Where the maps look.
  frame() {
    const { clientWidth, clientHeight } = this.panes[0].frame;
    return [clientWidth || 1, clientHeight || 1];
  }
  fit([left, top, right, bottom]) {
    const [wide, high] = this.frame();
    const unit = Math.max((right - left) / wide, (bottom - top) / high);
    this.look((left + right) / 2, (top + bottom) / 2, unit);
  }
  look(x, y, unit) {
    this.home = false;
    const [width, height] = this.section.size;
    this.view = {
      x: Math.max(0, Math.min(width, x)), y: Math.max(0, Math.min(height, y)),
      unit: Math.max(0.05, Math.min((4 * Math.max(width, height)) / this.frame()[0], unit)),
    };
    this.redraw();
  }
  move(right, down) {
    const [wide, high] = this.frame(), { x, y, unit } = this.view;
    this.look(x + right * wide * unit, y + down * high * unit, unit);
  }
  zoom(factor, x = this.view.x, y = this.view.y) {
    const before = this.view.unit;
    this.look(this.view.x, this.view.y, before * factor);
    const share = this.view.unit / before;
    this.look(x + (this.view.x - x) * share, y + (this.view.y - y) * share, this.view.unit);
  }
  // The place on the slide below the pointer; null beside the maps.
  over(event) {
    const canvas = event.target.closest?.("canvas");
    if (!canvas) return null;
    const box = canvas.getBoundingClientRect(), { x, y, unit } = this.view;
    return [x + (event.clientX - box.left - box.width / 2) * unit, y + (event.clientY - box.top - box.height / 2) * unit];
  }
  nearest(x, y) {
    const { x: xs, y: ys, radius } = this.section, reach = Math.max(radius, 4 * this.view.unit);
    let found = -1, least = reach * reach;
    for (let spot = 0; spot < xs.length; spot++) {
      const right = xs[spot] - x, down = ys[spot] - y, far = right * right + down * down;
      if (far <= least) [found, least] = [spot, far];
    }
    return found;
  }
  dragged(event) {
    const point = this.points.get(event.pointerId);
    if (!point) {
      const place = this.over(event);
      this.hover(place ? this.nearest(...place) : -1, event);
      return;
    }
    const before = [...this.points.values()].map(({ x, y }) => [x, y]);
    const [right, down] = [event.clientX - point.x, event.clientY - point.y];
    Object.assign(point, { x: event.clientX, y: event.clientY, moved: point.moved + Math.hypot(right, down) });
    const now = [...this.points.values()], { x, y, unit } = this.view, share = 1 / now.length;
    if (point.moved >= 4) this.look(x - right * unit * share, y - down * unit * share, unit);
    if (now.length > 1) {
      const apart = ([one, other]) => Math.hypot(one[0] - other[0], one[1] - other[1]) || 1;
      this.zoom(apart(before) / apart(now.map((each) => [each.x, each.y])));
    }
  }
  hover(spot, event) {
    this.tip.hidden = spot < 0;
    if (spot >= 0) {
      const box = this.holder.getBoundingClientRect();
      this.tip.textContent = this.words(spot);
      this.tip.style.left = `${Math.min(event.clientX - box.left + 14, box.width - 190)}px`;
      this.tip.style.top = `${event.clientY - box.top + 14}px`;
    }
    if (spot !== this.hovered) {
      this.hovered = spot;
      this.redraw();
    }
  }

  // Drawing, at most once a frame.
  redraw() {
    if (this.due || !this.section || !this.panes.length) return;
    this.due = requestAnimationFrame(() => {
      this.due = 0;
      this.draw();
    });
  }
  draw() {
    const { x, y, unit } = this.view;
    Object.assign(this.holder.dataset, { x, y, unit });
    for (const pane of this.panes) {
      const dense = devicePixelRatio || 1, { canvas, frame } = pane;
      const [wide, high] = [Math.round(frame.clientWidth * dense), Math.round(frame.clientHeight * dense)];
      if (!wide || !high) continue;
      if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
      const pen = canvas.getContext("2d"), scale = dense / unit;
      const at = { scale, left: wide / 2 - x * scale, top: high / 2 - y * scale, wide, high };
      pen.clearRect(0, 0, wide, high);
      this.picture(pen, at);
      pen.save();
      if (this.swiping) {
        pen.beginPath();
        pen.rect(this.swipe * wide, 0, wide, high);
        pen.clip();
      }
      if (pane.levels) {
        this.veil(pen, at);
        this.spots(pen, pane, at);
      }
      pen.restore();
      this.ring(pen, at, this.hovered, dense);
      this.ring(pen, at, this.chosen, 2.5 * dense);
      this.measure(pane.scale);
    }
  }
  picture(pen, { scale, left, top, wide, high }) {
    const { image, size: [width, height], tiles } = this.section;
    pen.imageSmoothingEnabled = true;
    pen.drawImage(image, left, top, width * scale, height * scale);
    if (!tiles || scale * width < image.naturalWidth) return;
    const fine = tiles.levels.filter(({ down }) => down * scale <= 1).pop() || tiles.levels[0];
    for (const level of tiles.levels.slice(tiles.levels.indexOf(fine)).reverse()) {
      const side = tiles.side * level.down * scale;
      const range = (start, length, count) => [Math.max(0, Math.floor(-start / side)), Math.min(count - 1, Math.floor((length - start) / side))];
      const [first, last] = range(left, wide, level.columns), [above, below] = range(top, high, level.rows);
      for (let row = above; row <= below; row++) {
        for (let column = first; column <= last; column++) {
          const found = this.tile(level, row, column, level === fine);
          if (!found?.complete || !found.naturalWidth) continue;
          // Half a pixel more, so that no line shows between two tiles.
          pen.drawImage(found, left + column * side, top + row * side, found.naturalWidth * level.down * scale + 0.5, found.naturalHeight * level.down * scale + 0.5);
        }
      }
    }
  }
  tile(level, row, column, wanted) {
    const name = `${this.section.tiles.base}/${level.name}/${row}_${column}.jpg`, held = this.tiles.get(name);
    if (held || !wanted) return held;
    const image = new Image();
    image.onload = () => this.redraw();
    image.src = name;
    this.tiles.set(name, image);
    if (this.tiles.size > TILES_HELD) this.tiles.delete(this.tiles.keys().next().value);
    return image;
  }
  // The picture is paler below values, so that its own colours are not read as theirs.
  veil(pen, { scale, left, top }) {
    const [width, height] = this.section.size;
    pen.fillStyle = `rgba(255, 255, 255, ${0.6 * this.opacity})`;
    pen.fillRect(left, top, width * scale, height * scale);
  }
  spots(pen, pane, at) {
    const { x: xs, y: ys, radius } = this.section, { scale, left, top, wide, high } = at, r = radius * scale;
    pen.globalAlpha = this.opacity;
    if (r < 2.5 && xs.length > MANY) {
      this.pixelated(pen, pane, at);
      return;
    }
    for (let level = 0; level <= MISSING; level++) {
      pen.beginPath();
      for (let place = pane.starts[level]; place < pane.starts[level + 1]; place++) {
        const spot = pane.order[place], x = xs[spot] * scale + left, y = ys[spot] * scale + top;
        if (x < -r || y < -r || x > wide + r || y > high + r) continue;
        pen.moveTo(x + r, y);
        pen.arc(x, y, Math.max(r, 0.7), 0, 2 * Math.PI);
      }
      pen.fillStyle = pane.colours.css[level];
      pen.fill();
    }
  }
  // Many small spots are set as squares of pixels: a hundred thousand of them take some milliseconds.
  pixelated(pen, pane, { scale, left, top, wide, high }) {
    const { x: xs, y: ys, radius } = this.section, side = Math.max(1, Math.round(2.17 * radius * scale));
    if (this.sheet?.width !== wide || this.sheet?.height !== high) {
      this.sheet = Object.assign(document.createElement("canvas"), { width: wide, height: high });
      this.pixels = new ImageData(wide, high);
      this.sheetWords = new Uint32Array(this.pixels.data.buffer);
    }
    const words = this.sheetWords, { packed } = pane.colours;
    words.fill(0);
    for (let spot = 0; spot < xs.length; spot++) {
      const x = Math.round(xs[spot] * scale + left - side / 2), y = Math.round(ys[spot] * scale + top - side / 2);
      if (x < 0 || y < 0 || x + side > wide || y + side > high) continue;
      const colour = packed[pane.levels[spot]];
      for (let row = y; row < y + side; row++) words.fill(colour, row * wide + x, row * wide + x + side);
    }
    this.sheet.getContext("2d").putImageData(this.pixels, 0, 0);
    pen.drawImage(this.sheet, 0, 0);
  }
  ring(pen, { scale, left, top }, spot, width) {
    if (spot < 0) return;
    const { x, y, radius } = this.section;
    pen.beginPath();
    pen.arc(x[spot] * scale + left, y[spot] * scale + top, Math.max(radius * 1.2 * scale, 5), 0, 2 * Math.PI);
    Object.assign(pen, { strokeStyle: RING, lineWidth: width });
    pen.stroke();
  }
  measure(bar) {
    const { mpp } = this.section;
    bar.hidden = !mpp;
    if (!mpp) return;
    const most = 110 * this.view.unit * mpp, whole = 10 ** Math.floor(Math.log10(most));
    const microns = whole * [5, 2, 1].find((times) => times * whole <= most);
    bar.style.width = `${microns / this.view.unit / mpp}px`;
    bar.textContent = microns >= 1000 ? `${microns / 1000} mm` : `${Number(microns.toPrecision(2))} µm`;
  }
}
