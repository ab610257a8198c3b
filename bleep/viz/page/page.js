"use strict";
// Decodes the page's data, and moves the maps, the tables and the words with what the reader chooses.
(async () => {
  const at = (id) => document.getElementById(id);
  const data = JSON.parse(at("data").textContent);
  const OFFERED = 100, GRADES = { high: 3, medium: 2, low: 1 };

  async function unpack(text) {
    const letters = atob(text), bytes = new Uint8Array(letters.length);
    for (let place = 0; place < letters.length; place++) bytes[place] = letters.charCodeAt(place);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  }
  if (data.table) {
    at("comparison").hidden = false;
    fill(at("table"), data.table.columns, data.table.rows);
  }
  if (!at("leaks").querySelector("p")) at("leaks").hidden = true;
  if (!at("configuration").querySelector("pre").textContent) at("configuration").hidden = true;
  if (!data.sections.length) {
    at("looked").hidden = true;
    document.body.dataset.ready = "yes";
    return;
  }

  const held = new Map();
  let section = null, found = null, gene = 0;
  const chosen = (name) => document.querySelector(`input[name="${name}"]:checked`)?.value;
  const maps = new Maps(at("map"), { choose: (spot) => choose(spot), words: (spot) => says(spot) });

  async function decode(index) {
    if (!held.has(index)) {
      const { xy, ids, layers, tiles, picture } = data.sections[index], image = new Image();
      image.src = picture;
      const of = (parts, read) => Promise.all(Object.entries(parts).map(async ([name, part]) => [name, await read(part)])).then(Object.fromEntries);
      const [places, names, levels, values] = await Promise.all([
        unpack(xy), unpack(ids), of(layers, async ({ packed }) => new Uint8Array(await unpack(packed))),
        of(tiles, async (packed) => new Float32Array(await unpack(packed))), image.decode(),
      ]);
      const count = places.byteLength / 8;
      held.set(index, {
        image, count, levels, values, ids: JSON.parse(new TextDecoder().decode(names)),
        x: new Float32Array(places, 0, count), y: new Float32Array(places, 4 * count, count),
      });
    }
    return held.get(index);
  }
  async function nearest() {
    const { rows, similarity, weight } = section.nearest;
    found.near ??= {
      rows: new Int32Array(await unpack(rows)), similarity: new Float32Array(await unpack(similarity)),
      weight: new Float32Array(await unpack(weight)),
    };
    return found.near;
  }

  // What can be shown: layers of values by gene, values by spot, and the difference of two layers, "one − other".
  const DIFFERENCE = " − ", isDifference = (name) => name.includes(DIFFERENCE);
  const predictions = () => Object.keys(section.layers).filter((name) => !["measured", "uncertainty"].includes(name));
  const names = () => [
    ...Object.keys(section.layers), ...(section.layers.measured ? [`predicted${DIFFERENCE}measured`] : []), ...Object.keys(section.tiles),
  ];
  const words = (name) => name.split(DIFFERENCE).map((part) => section.layers[part]?.title ?? part).join(DIFFERENCE);
  const of = (name) => found.levels[name].subarray(gene * found.count, (gene + 1) * found.count);
  function scale(name) {
    const layer = section.layers[name];
    return [layer.low[gene], layer.high[gene]];
  }
  function table(name) {
    const [low, high] = scale(name);
    return Float64Array.from({ length: MISSING + 1 }, (_, level) => (level === MISSING ? NaN : low + (level / LEVELS) * (high - low)));
  }
  function value(name, spot) {
    if (isDifference(name)) {
      const [one, other] = name.split(DIFFERENCE);
      return value(one, spot) - value(other, spot);
    }
    return name in found.values ? found.values[name][spot] : table(name)[of(name)[spot]];
  }
  function differences(name) {
    const [one, other] = name.split(DIFFERENCE), [first, second] = [table(one), table(other)], [a, b] = [of(one), of(other)];
    return Float32Array.from(a, (level, spot) => first[level] - second[b[spot]]);
  }
  // The ends of a map's scale, and the level of each spot on it.
  function drawn(name, among) {
    const values = isDifference(name) ? differences(name) : found.values[name];
    if (values) {
      let most = 0;
      if (isDifference(name)) for (const each of values) if (Math.abs(each) > most) most = Math.abs(each);
      const [low, high] = isDifference(name) ? [-(most || 1), most || 1] : [0, 1];
      const levels = Uint8Array.from(values, (each) => (Number.isNaN(each) ? MISSING : Math.round(((each - low) / (high - low)) * LEVELS)));
      return { low, high, levels };
    }
    const shared = chosen("limits") === "shared" && name !== "uncertainty" ? among.filter((each) => each in section.layers) : [];
    const ends = [name, ...shared].map(scale);
    const low = Math.min(...ends.map((each) => each[0])), high = Math.max(...ends.map((each) => each[1]));
    const steps = Uint8Array.from(table(name), (each) => (Number.isNaN(each) ? MISSING : Math.round(((each - low) / (high - low || 1)) * LEVELS)));
    return { low, high, levels: of(name).map((level) => steps[level]) };
  }

  // Which maps stand side by side.
  const PICTURE = "H&E";
  function panes() {
    const mode = chosen("mode"), [a, b] = [at("first").value, at("second").value];
    if (mode === "side") return [PICTURE, ...(section.layers.measured ? ["measured"] : []), "predicted"];
    return mode === "compare" ? [a, b, `${a}${DIFFERENCE}${b}`] : [chosen("layer")];
  }
  function paint() {
    const mode = chosen("mode"), shown = panes();
    const among = mode === "compare" ? shown.slice(0, 2) : ["measured", "predicted"];
    at("layer").hidden = mode === "side" || mode === "compare";
    at("pair").hidden = mode !== "compare";
    maps.swiping = mode === "swipe";
    const told = [];
    maps.show(shown.map((name) => {
      if (name === PICTURE) return { title: PICTURE };
      const { low, high, levels } = drawn(name, among);
      told.push(`${words(name)}: ${short(low)} to ${short(high)}`);
      return { title: words(name), levels, low: short(low), high: short(high), palette: isDifference(name) ? "difference" : "value" };
    }));
    const share = "share of left-out training tiles that lie at least as far";
    const unit = shown.includes("familiarity") ? share : shown.includes("uncertainty") ? data.uncertainty : data.scale;
    const agree = (mode === "compare" ? shown.slice(0, 2) : [predictions().includes(shown[0]) ? shown[0] : "predicted"])
      .filter((name) => Number.isFinite(section.layers[name]?.r?.[gene]))
      .map((name) => `; r = ${section.layers[name].r[gene].toFixed(2)} between ${words(name)} and measured`).join("");
    at("status").textContent = `${data.genes[gene]}, ${told.join(", ")} in section ${section.name} (${unit})${agree}${data.trust[gene] ? `; ${data.trust[gene]}` : ""}`;
    swipe(maps.swipe);
    list();
    tell();
  }
  function says(spot) {
    return [found.ids[spot], ...panes().filter((name) => name !== PICTURE).map((name) => `${words(name)} ${short(value(name, spot))}`)].join("\n");
  }

  // The genes, by score and by trust.
  let listed = "";
  function list() {
    const scored = (chosen("mode") === "compare" ? [at("first").value, at("second").value] : ["predicted"]).filter((name) => section.layers[name]?.r);
    const key = JSON.stringify([section.name, scored]);
    if (key === listed) {
      mark();
      return;
    }
    listed = key;
    const graded = data.grades.some(Boolean);
    const columns = [
      { heading: data.column },
      ...scored.map((name, place) => ({ heading: ["r", ...(scored.length > 1 ? [`of ${"AB"[place]}`] : [])].join(" "), meaning: `Pearson's r between ${words(name)} and measured over the spots of this section` })),
      ...(graded ? [
        { heading: "trust", meaning: "the grade that calibration gave the gene, by left-out training tissue" },
        { heading: "expected", meaning: "Pearson's r that calibration expects, by left-out training tissue" },
      ] : []),
    ];
    const rows = data.genes.map((name, number) => {
      const grade = data.grades[number];
      const numbers = scored.map((each) => section.layers[each].r[number]);
      return Object.assign([
        { text: name, value: name },
        ...numbers.map((r) => ({ text: Number.isFinite(r) ? r.toFixed(2) : "none", value: r })),
        ...(graded ? [
          { text: grade?.[0] ?? "none", value: GRADES[grade?.[0]] ?? 0 },
          { text: Number.isFinite(grade?.[1]) ? grade[1].toFixed(2) : "none", value: grade?.[1] ?? null },
        ] : []),
      ], { key: number });
    });
    fill(at("genelist"), columns, rows, pick, mark);
  }
  function mark() {
    const rows = [...at("genelist").tBodies[0].rows];
    rows.forEach((row, number) => {
      const here = Number(row.dataset.row) === gene;
      row.setAttribute("aria-selected", here);
      row.tabIndex = here ? 0 : -1;
      if (here) at("genebox").scrollTop = Math.max(0, Math.min(at("genebox").scrollTop, row.offsetTop - 40), row.offsetTop + row.offsetHeight - at("genebox").clientHeight);
    });
    if (rows.length && !rows.some((row) => row.tabIndex === 0)) rows[0].tabIndex = 0;
  }
  function pick(number) {
    gene = Number(number);
    at("gene").value = data.genes[gene];
    paint();
  }
  at("genelist").tBodies[0].addEventListener("keydown", (pressed) => {
    const rows = [...pressed.currentTarget.rows], now = rows.indexOf(pressed.target.closest("tr")), last = rows.length - 1;
    const next = { ArrowDown: now + 1, ArrowUp: now - 1, Home: 0, End: last, PageDown: now + 8, PageUp: now - 8, Enter: now, " ": now }[pressed.key];
    if (next === undefined) return;
    pressed.preventDefault();
    const row = rows[Math.max(0, Math.min(last, next))];
    pick(row.dataset.row);
    row.focus();
  });

  // The spot that was chosen.
  async function tell() {
    const spot = maps.chosen, body = at("nearest").tBodies[0];
    at("h-nearest").hidden = spot < 0 || !section.nearest;
    if (spot < 0) {
      at("values").replaceChildren(element("dt", "none chosen: click one on the map, or name it above"));
      at("nearest").tHead.replaceChildren();
      body.replaceChildren();
      return;
    }
    at("values").replaceChildren(...names().flatMap((name) => [element("dt", words(name)), element("dd", short(value(name, spot)))]));
    at("spot").value = found.ids[spot];
    if (!section.nearest) return;
    const { names: known, k } = section.nearest, near = await nearest();
    if (spot !== maps.chosen) return;
    const rows = Array.from({ length: k }, (_, rank) => {
      const place = spot * k + rank, name = known[near.rows[place]];
      return [{ text: name, value: name }, ...[near.similarity, near.weight].map((part) => ({ text: part[place].toFixed(3), value: part[place] }))];
    });
    fill(at("nearest"), [{ heading: "measured spot" }, { heading: "similarity" }, { heading: "weight" }], rows);
  }
  function choose(spot) {
    maps.chosen = spot;
    maps.redraw();
    tell();
  }
  function offer() {
    const typed = at("spot").value.trim();
    const some = found.count <= ROWS ? found.ids : found.ids.filter((id) => id.includes(typed)).slice(0, OFFERED);
    at("spots").replaceChildren(...some.map((id) => element("option", undefined, { value: id })));
  }

  // Swipe: the H&E alone on the left of a handle, the map on the right.
  const handle = element("div", undefined, { id: "handle", role: "slider", tabindex: 0, "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": "Share of the map that shows the H&E alone" });
  function swipe(share) {
    maps.swipe = Math.max(0, Math.min(1, share));
    handle.setAttribute("aria-valuenow", Math.round(maps.swipe * 100));
    handle.style.left = `${maps.swipe * 100}%`;
    if (maps.swiping) maps.panes[0].frame.append(...(handle.parentNode ? [] : [handle]));
    else handle.remove();
    maps.redraw();
  }
  handle.addEventListener("keydown", (pressed) => {
    const to = { ArrowLeft: maps.swipe - 0.02, ArrowRight: maps.swipe + 0.02, ArrowDown: maps.swipe - 0.02, ArrowUp: maps.swipe + 0.02, PageDown: maps.swipe - 0.1, PageUp: maps.swipe + 0.1, Home: 0, End: 1 }[pressed.key];
    if (to === undefined) return;
    pressed.preventDefault();
    pressed.stopPropagation();
    swipe(to);
  });
  handle.addEventListener("pointerdown", (down) => handle.setPointerCapture(down.pointerId));
  handle.addEventListener("pointermove", (moved) => {
    if (!handle.hasPointerCapture(moved.pointerId)) return;
    const box = handle.parentNode.getBoundingClientRect();
    swipe((moved.clientX - box.left) / box.width);
  });

  // Where the maps look at first: the tissue, which is where the spots are.
  function tissue() {
    const { x, y } = found, margin = 3 * section.radius;
    const ends = [Infinity, Infinity, -Infinity, -Infinity];
    for (let spot = 0; spot < found.count; spot++) {
      if (x[spot] < ends[0]) ends[0] = x[spot];
      if (y[spot] < ends[1]) ends[1] = y[spot];
      if (x[spot] > ends[2]) ends[2] = x[spot];
      if (y[spot] > ends[3]) ends[3] = y[spot];
    }
    maps.fit([ends[0] - margin, ends[1] - margin, ends[2] + margin, ends[3] + margin]);
    maps.home = true;
  }
  const whole = () => maps.fit([0, 0, ...section.size]);

  function radios(group, name, options, before, fallback) {
    const first = options.some(([key]) => key === before) ? before : fallback;
    at(group).replaceChildren(at(group).firstElementChild, ...options.map(([key, text]) => {
      const label = element("label"), button = element("input", undefined, { type: "radio", name, value: key });
      button.checked = key === first;
      label.append(button, ` ${text}`);
      return label;
    }));
  }
  async function slideTiles() {
    if (!section.tiles_at) return null;
    const { folder, number, side, levels } = section.tiles_at, base = `${encodeURIComponent(folder)}/${number}`, probe = new Image();
    probe.src = `${base}/${levels[levels.length - 1].name}/0_0.jpg`;
    try {
      await probe.decode();
      return { base, side, levels };
    } catch {
      at("shown").textContent = `The folder ${folder} is not beside this page, so the slide is shown coarsely.`;
      return null;
    }
  }
  async function open(index) {
    section = data.sections[index];
    found = await decode(index);
    listed = "";
    const { x, y, image } = found, { size, radius, mpp } = section;
    maps.load({ x, y, image, size, radius, mpp, tiles: null });
    slideTiles().then((tiles) => {
      if (maps.section.image === image) maps.section.tiles = tiles;
      maps.redraw();
    });
    at("spot").value = "";
    offer();
    const values = [...(section.layers.measured ? ["measured"] : []), ...predictions()];
    const modes = [["side", "side by side"], ["one", "one map"], ["swipe", "swipe"], ...(values.length > 1 ? [["compare", "compare"]] : [])];
    radios("mode", "mode", modes, chosen("mode"), section.layers.measured ? "side" : "one");
    radios("layer", "layer", names().map((name) => [name, words(name)]), chosen("layer"), "predicted");
    const pair = predictions().length > 1 ? predictions() : values;
    [["first", pair[0]], ["second", pair[1] ?? pair[0]]].forEach(([id, usual]) => {
      const before = at(id).value;
      at(id).replaceChildren(...values.map((name) => element("option", words(name), { value: name })));
      at(id).value = values.includes(before) ? before : usual;
    });
    at("limits").disabled = values.length < 2;
    paint();
    tissue();
  }

  at("section").replaceChildren(...data.sections.map((one, index) => element("option", one.name, { value: index })));
  at("genes").replaceChildren(...data.genes.map((name) => element("option", undefined, { value: name })));
  at("gene").value = data.genes[0];
  at("section").addEventListener("change", () => open(Number(at("section").value)));
  at("mode").addEventListener("change", () => {
    const { x, y, unit } = maps.view, before = maps.frame()[0], { home } = maps;
    paint();
    // The same tissue fills the maps, however wide they are now.
    if (home) tissue();
    else maps.look(x, y, (unit * before) / maps.frame()[0]);
  });
  for (const id of ["layer", "pair", "limits"]) at(id).addEventListener("change", paint);
  at("opacity").addEventListener("input", () => {
    maps.opacity = Number(at("opacity").value) / 100;
    maps.redraw();
  });
  at("gene").addEventListener("change", () => {
    const wanted = at("gene").value.trim().toLowerCase();
    const number = data.genes.findIndex((name) => name.toLowerCase() === wanted);
    if (number >= 0) pick(number);
    else at("status").textContent = `No ${data.column} ${at("gene").value.trim()} in this page; choose one from the list.`;
  });
  at("spot").addEventListener("input", () => found.count > ROWS && offer());
  at("spot").addEventListener("change", () => {
    const spot = found.ids.indexOf(at("spot").value.trim());
    if (spot >= 0) choose(spot);
    else at("status").textContent = `No spot ${at("spot").value.trim()} in section ${section.name}.`;
  });
  at("closer").addEventListener("click", () => maps.zoom(1 / 1.4));
  at("farther").addEventListener("click", () => maps.zoom(1.4));
  at("tissue").addEventListener("click", tissue);
  at("whole").addEventListener("click", whole);
  at("map").addEventListener("keydown", (pressed) => {
    if (pressed.ctrlKey || pressed.metaKey || pressed.altKey) return;
    const does = {
      ArrowLeft: () => maps.move(-0.15, 0), ArrowRight: () => maps.move(0.15, 0), ArrowUp: () => maps.move(0, -0.15), ArrowDown: () => maps.move(0, 0.15),
      "+": () => maps.zoom(1 / 1.4), "=": () => maps.zoom(1 / 1.4), "-": () => maps.zoom(1.4), 0: tissue, w: whole,
      n: () => choose((maps.chosen + 1) % found.count), p: () => choose((Math.max(maps.chosen, 0) - 1 + found.count) % found.count),
    }[pressed.key.length > 1 ? pressed.key : pressed.key.toLowerCase()];
    if (does) {
      does();
      pressed.preventDefault();
    }
  });
  await open(0);
  // Once the first map has been drawn, and not before.
  requestAnimationFrame(() => requestAnimationFrame(() => {
    document.body.dataset.ready = "yes";
  }));
})();
