"use strict";
// Decodes the page's data, and moves the map, the tables and the words with what the reader chooses.
(async () => {
  const at = (id) => document.getElementById(id);
  const read = (id) => JSON.parse(at(id).textContent);
  const data = read("data"), palettes = read("palettes"), drawn = read("drawn");
  const LEVELS = 254, MISSING = 255;

  async function unpack(text) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }
  function element(name, text, attributes = {}) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }
  const short = (value) => (Number.isFinite(value) ? Number(value.toPrecision(3)).toString() : "no value");

  // The comparison: a heading sorts, the same heading again turns the order.
  function fill(table, columns, rows) {
    const head = element("tr"), body = table.tBodies[0];
    let order = null, up = false;
    const show = () => body.replaceChildren(...rows.map((row) => {
      const line = element("tr");
      row.forEach((cell, number) => line.append(element(number ? "td" : "th", cell.text, number ? {} : { scope: "row" })));
      return line;
    }));
    columns.forEach((column, number) => {
      const cell = element("th", undefined, { scope: "col", title: column.meaning || "" });
      const press = element("button", column.heading, { type: "button" });
      press.addEventListener("click", () => {
        up = order === number ? !up : number === 0;
        order = number;
        const key = (row) => row[number].value;
        rows.sort((a, b) => {
          const [first, second] = [key(a), key(b)];
          const way = typeof first === "string" ? first.localeCompare(second) : (first ?? -Infinity) - (second ?? -Infinity);
          return up ? way : -way;
        });
        for (const other of head.cells) other.removeAttribute("aria-sort");
        cell.setAttribute("aria-sort", up ? "ascending" : "descending");
        show();
      });
      cell.append(press);
      head.append(cell);
    });
    table.tHead.replaceChildren(head);
    show();
  }
  if (data.table) {
    at("comparison").hidden = false;
    fill(at("table"), data.table.columns, data.table.rows);
  }
  if (!at("leaks").querySelector("p")) at("leaks").hidden = true;
  if (!at("configuration").querySelector("pre").textContent) at("configuration").hidden = true;
  if (!data.sections.length) return;

  // The map.
  await Bokeh.embed.embed_item(drawn, "map");
  const model = (name) => Bokeh.documents.map((made) => made.get_model_by_name(name)).find((found) => found);
  const plot = model("tissue"), spots = model("spots"), marks = model("marks"), picture = model("picture");
  const colours = model("colours"), bar = model("bar"), circles = model("circles");
  const ink = getComputedStyle(document.documentElement).getPropertyValue("--ink").trim();
  bar.setv({ background_fill_alpha: 0, major_label_text_color: ink });

  const decoded = new Map();
  let section = null, layers = null, nearest = null, gene = 0;
  const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`).value;

  async function decode(index) {
    if (!decoded.has(index)) {
      const found = data.sections[index], levels = {};
      for (const [name, layer] of Object.entries(found.layers)) levels[name] = new Uint8Array(await unpack(layer.packed));
      const near = found.nearest && {
        rows: new Int32Array(await unpack(found.nearest.rows)),
        similarity: new Float32Array(await unpack(found.nearest.similarity)),
        weight: new Float32Array(await unpack(found.nearest.weight)),
      };
      decoded.set(index, { levels, near });
    }
    return decoded.get(index);
  }
  function values(name) {
    if (name === "difference") {
      const [predicted, measured] = [values("predicted"), values("measured")];
      return predicted.map((value, spot) => value - measured[spot]);
    }
    if (name in section.tiles) return section.tiles[name];
    const layer = section.layers[name], count = section.ids.length, low = layer.low[gene], width = layer.high[gene] - low;
    return Array.from(layers[name].subarray(gene * count, (gene + 1) * count), (level) =>
      level === MISSING ? NaN : low + (level / LEVELS) * width);
  }
  const names = () => [...Object.keys(section.layers), ...(section.layers.measured ? ["difference"] : []), ...Object.keys(section.tiles)];
  const words = { measured: "measured", predicted: "predicted", difference: "predicted − measured", uncertainty: "uncertainty", familiarity: "familiarity" };

  function limits(name, shown) {
    const ends = (list) => [Math.min(...list), Math.max(...list)];
    const finite = shown.filter(Number.isFinite);
    if (!finite.length || name === "familiarity") return [0, 1];
    if (name === "difference") {
      const most = Math.max(...finite.map(Math.abs)) || 1;
      return [-most, most];
    }
    if (chosen("limits") === "shared" && name !== "uncertainty" && section.layers.measured) {
      return ends([...values("measured"), ...values("predicted")].filter(Number.isFinite));
    }
    return ends(finite);
  }
  function paint() {
    const name = chosen("layer"), shown = values(name), [low, high] = limits(name, shown);
    colours.setv({ palette: palettes[name === "difference" ? "difference" : "value"], low, high: high > low ? high : low + 1 });
    spots.data = { ...spots.data, value: shown, says: shown.map(short) };
    const share = "share of left-out training tiles that lie at least as far";
    const unit = name === "familiarity" ? share : name === "uncertainty" ? data.uncertainty : data.scale;
    const r = section.r && section.r[gene], agrees = Number.isFinite(r) ? `; r = ${r.toFixed(2)} between predicted and measured` : "";
    at("status").textContent = `${data.genes[gene]}, ${words[name]}: ${short(low)} to ${short(high)} in section ${section.name} (${unit})${agrees}${data.trust[gene] ? `; ${data.trust[gene]}` : ""}`;
    tell();
  }
  function tell() {
    const spot = spots.selected.indices[0], list = at("values");
    const body = at("nearest").tBodies[0];
    if (spot === undefined) {
      list.replaceChildren(element("dt", "none chosen"), element("dd", "click one on the map, or name it above"));
      marks.data = { x: [], y: [], r: [] };
      at("h-nearest").hidden = true;
      at("nearest").tHead.replaceChildren();
      body.replaceChildren();
      return;
    }
    list.replaceChildren(...names().flatMap((name) => [element("dt", words[name]), element("dd", short(values(name)[spot]))]));
    at("spot").value = section.ids[spot];
    marks.data = { x: [spots.data.x[spot]], y: [spots.data.y[spot]], r: [section.radius * 1.25] };
    if (!nearest) return;
    at("h-nearest").hidden = false;
    const k = section.nearest.k, rows = [];
    for (let rank = 0; rank < k; rank++) {
      const place = spot * k + rank;
      const name = section.nearest.names[nearest.rows[place]];
      rows.push([
        { text: name, value: name },
        { text: nearest.similarity[place].toFixed(3), value: nearest.similarity[place] },
        { text: nearest.weight[place].toFixed(3), value: nearest.weight[place] },
      ]);
    }
    fill(at("nearest"), [{ heading: "measured spot" }, { heading: "similarity" }, { heading: "weight" }], rows);
  }
  function whole() {
    const [width, height] = section.size, edge = 0.02 * Math.max(width, height);
    const frame = [plot.inner_width || 1, plot.inner_height || 1];
    const unit = Math.max((width + 2 * edge) / frame[0], (height + 2 * edge) / frame[1]);
    const [wide, high] = [unit * frame[0], unit * frame[1]];
    const [x, y] = [width / 2, -height / 2];
    const ends = [x - wide / 2, x + wide / 2, y - high / 2, y + high / 2];
    plot.x_range.setv({ start: ends[0], end: ends[1], reset_start: ends[0], reset_end: ends[1] });
    plot.y_range.setv({ start: ends[2], end: ends[3], reset_start: ends[2], reset_end: ends[3] });
  }
  function move(factor, right = 0, up = 0) {
    for (const [range, by] of [[plot.x_range, right], [plot.y_range, up]]) {
      const middle = (range.start + range.end) / 2, half = ((range.end - range.start) / 2) * factor;
      range.setv({ start: middle - half + by * half, end: middle + half + by * half });
    }
  }
  function choose(spot) {
    spots.selected.indices = spot === undefined ? [] : [spot];
  }
  async function open(index) {
    section = data.sections[index];
    ({ levels: layers, near: nearest } = await decode(index));
    const [width, height] = section.size;
    picture.data = { url: [section.picture], x: [0], y: [0], w: [width], h: [height] };
    spots.selected.indices = [];
    const blank = section.ids.map(() => NaN);
    spots.data = {
      x: section.x, y: section.y.map((y) => -y), r: section.ids.map(() => section.radius), value: blank,
      id: section.ids, says: section.ids.map(() => ""),
    };
    at("spots").replaceChildren(...section.ids.map((id) => element("option", undefined, { value: id })));
    at("spot").value = "";
    const before = document.querySelector('input[name="layer"]:checked')?.value;
    const first = names().includes(before) ? before : "predicted";
    at("layer").replaceChildren(at("layer").firstElementChild, ...names().map((name) => {
      const label = element("label"), button = element("input", undefined, { type: "radio", name: "layer", value: name });
      button.checked = name === first;
      label.append(button, ` ${words[name]}`);
      return label;
    }));
    at("limits").disabled = !section.layers.measured;
    paint();
    whole();
  }

  at("section").replaceChildren(...data.sections.map((found, index) => element("option", found.name, { value: index })));
  at("genes").replaceChildren(...data.genes.map((name) => element("option", undefined, { value: name })));
  at("gene").value = data.genes[0];
  at("section").addEventListener("change", () => open(Number(at("section").value)));
  at("layer").addEventListener("change", paint);
  at("limits").addEventListener("change", paint);
  at("opacity").addEventListener("input", () => {
    const alpha = Number(at("opacity").value) / 100;
    for (const glyph of [circles.glyph, circles.nonselection_glyph, circles.selection_glyph]) glyph.fill_alpha = { value: alpha };
  });
  at("gene").addEventListener("change", () => {
    const wanted = at("gene").value.trim().toLowerCase();
    const found = data.genes.findIndex((name) => name.toLowerCase() === wanted);
    if (found < 0) {
      at("status").textContent = `No gene ${at("gene").value.trim()} in this page; choose one from the list.`;
      return;
    }
    gene = found;
    at("gene").value = data.genes[gene];
    paint();
  });
  at("spot").addEventListener("change", () => {
    const found = section.ids.indexOf(at("spot").value.trim());
    if (found >= 0) choose(found);
    else at("status").textContent = `No spot ${at("spot").value.trim()} in section ${section.name}.`;
  });
  at("closer").addEventListener("click", () => move(1 / 1.4));
  at("farther").addEventListener("click", () => move(1.4));
  at("whole").addEventListener("click", whole);
  at("map").addEventListener("keydown", (pressed) => {
    const now = spots.selected.indices[0] ?? -1, count = section.ids.length;
    const does = {
      ArrowLeft: () => move(1, -0.3), ArrowRight: () => move(1, 0.3), ArrowUp: () => move(1, 0, 0.3), ArrowDown: () => move(1, 0, -0.3),
      "+": () => move(1 / 1.4), "=": () => move(1 / 1.4), "-": () => move(1.4), 0: whole,
      n: () => choose((now + 1) % count), p: () => choose((now - 1 + count) % count),
    }[pressed.key];
    if (does) {
      does();
      pressed.preventDefault();
    }
  });
  spots.selected.connect(spots.selected.properties.indices.change, tell);
  await open(0);
  document.body.dataset.ready = "yes";
})();
