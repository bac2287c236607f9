// Builds elements from plain values. Text becomes text nodes only, because names come from producers.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function h(name, properties = {}, ...children) {
  return fill(document.createElement(name), properties, children);
}

export function svg(name, properties = {}, ...children) {
  return fill(document.createElementNS(SVG, name), properties, children);
}

export function card(title, { size = "", note = "", right = null } = {}, ...children) {
  return h("section", { class: `card ${size}`, "aria-label": title },
    h("header", {}, h("h2", {}, title), note && h("span", { class: "quiet" }, note), right && h("span", { class: "right" }, right)),
    ...children);
}

// columns: [title, cell(row), class]; the first cell of each row is its header
export function table(caption, columns, rows, { nothing = "No data yet." } = {}) {
  if (!rows.length) return h("p", { class: "quiet" }, nothing);
  const line = (row) => h("tr", {}, columns.map(([, cell, kind = ""], index) =>
    h(index ? "td" : "th", { class: kind || null, scope: index ? null : "row" }, cell(row))));
  return h("div", { class: "wide", tabindex: "0", role: "region", "aria-label": caption },
    h("table", {}, h("caption", { class: "unseen" }, caption),
      h("thead", {}, h("tr", {}, columns.map(([title, , kind = ""]) => h("th", { class: kind === "num" ? "num" : null, scope: "col" }, title)))),
      h("tbody", {}, rows.map(line))));
}

export function figures(list) {
  return h("dl", { class: "figures" }, list.filter(Boolean).map(([name, value, note = "", kind = ""]) =>
    h("div", { class: kind }, h("dt", {}, name), h("dd", {}, value), note && h("dd", {}, note))));
}

// A group of buttons, one of which is pressed.
export function choice(label, values, chosen, choose) {
  return h("span", { class: "choice", role: "group", "aria-label": label }, values.map(([value, text]) =>
    h("button", { type: "button", id: `choice-${label}-${value}`, "aria-pressed": String(value === chosen), onclick: () => choose(value) }, text)));
}

// A section of a page, redrawn only when its data changed; focus and open details are kept.
export class Section {
  constructor(element) {
    this.element = element;
    this.known = undefined;
  }

  show(data, draw) {
    const now = JSON.stringify(data);
    if (now === this.known) return;
    this.known = now;
    const focus = this.element.contains(document.activeElement) ? document.activeElement.id : "";
    const open = new Set([...this.element.querySelectorAll("details[open][id]")].map((found) => found.id));
    this.element.replaceChildren(...[draw(data)].flat());
    for (const found of this.element.querySelectorAll("details[id]")) found.open = open.has(found.id);
    if (focus) document.getElementById(focus)?.focus();
  }
}
