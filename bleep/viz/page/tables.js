"use strict";
// Tables that the reader sorts, made of text alone: what a name holds is never markup.
function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
const short = (value) => (Number.isFinite(value) ? Number(value.toPrecision(3)).toString() : "no value");

// The head of a row; a long name, such as Ensembl's, is cut before the end that tells it from others.
function named(name) {
  const made = element("th", name.length > 16 ? undefined : name, { scope: "row", title: name });
  if (name.length > 16) made.append(element("span", name.slice(0, -8), { class: "front" }), name.slice(-8));
  return made;
}

// A heading sorts, the same heading again turns the order; rows that can be picked are marked by who picks them.
const sorted = {}, ROWS = 1000;
function fill(table, columns, rows, pick, mark) {
  const head = element("tr"), body = table.tBodies[0];
  const state = (sorted[table.id] ??= { order: null, up: false });
  const line = (row) => {
    const made = element("tr");
    row.forEach((cell, number) => made.append(number ? element("td", cell.text) : named(cell.text)));
    if (pick) {
      made.tabIndex = -1;
      made.dataset.row = row.key;
      made.addEventListener("click", () => pick(row.key));
    }
    return made;
  };
  const sort = () => {
    const key = (row) => row[state.order].value;
    rows.sort((a, b) => {
      const [first, second] = [key(a), key(b)];
      const way = typeof first === "string" ? first.localeCompare(second) : (first ?? -Infinity) - (second ?? -Infinity);
      return (state.up ? way : -way) || 0;
    });
    [...head.cells].forEach((cell, number) => {
      if (number === state.order) cell.setAttribute("aria-sort", state.up ? "ascending" : "descending");
      else cell.removeAttribute("aria-sort");
    });
  };
  const show = () => {
    body.replaceChildren(...rows.slice(0, ROWS).map(line));
    if (pick) mark();
  };
  columns.forEach((column, number) => {
    const cell = element("th", undefined, { scope: "col", title: column.meaning || "" });
    const press = element("button", column.heading, { type: "button" });
    press.addEventListener("click", () => {
      state.up = state.order === number ? !state.up : number === 0;
      state.order = number;
      sort();
      show();
    });
    cell.append(press);
    head.append(cell);
  });
  table.tHead.replaceChildren(head);
  if (state.order >= columns.length) state.order = null;
  if (state.order !== null) sort();
  show();
}
