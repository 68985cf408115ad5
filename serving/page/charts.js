// Charts drawn as SVG. Nothing that comes from the server is ever parsed as HTML: it becomes text or a number.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 560, HEIGHT = 200, LEFT = 46, RIGHT = 10, TOP = 8, BOTTOM = 22;

/** An HTML element with attributes and children; a text becomes a text node. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function shape(name, attributes, text) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

/** A number with as many digits as mean something. */
export function short(value, digits = 3) {
  if (value === null || value === undefined || !Number.isFinite(value)) return "–";
  if (value === 0) return "0";
  const size = Math.abs(value);
  if (size >= 1e5) return Intl.NumberFormat("en", {notation: "compact", maximumSignificantDigits: digits}).format(value);
  if (size < 1e-4) return value.toExponential(1);
  return Intl.NumberFormat("en", {maximumSignificantDigits: Math.max(digits, Math.ceil(Math.log10(size)))}).format(value);
}

/** Round numbers from 0 to at least `most`, about four of them. */
function ticks(most) {
  const rough = Math.max(most, 1e-9) / 4, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((times) => times * power).find((one) => one >= rough);
  return Array.from({length: Math.ceil(most / step - 1e-9) + 1}, (_, place) => place * step);
}

/**
 * Lines over a common x. `xs` are numbers that ascend; each series has a name, a colour (a class) and its ys, null where
 * there is none; `label` says an x in words. The chart keeps what the pointer points at while it is drawn anew.
 */
export function lines(place, xs, series, label) {
  const known = series.flatMap((one) => one.ys.filter((y) => y !== null));
  if (!known.length || xs.length < 2) return nothing(place, "No requests yet.");
  const marks = ticks(Math.max(...known)), top = marks.at(-1) || 1;
  const x = (value) => LEFT + (WIDTH - LEFT - RIGHT) * (value - xs[0]) / (xs.at(-1) - xs[0] || 1);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
  const svg = shape("svg", {viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": said(series)});
  for (const mark of marks) {
    svg.append(shape("line", {class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(mark), y2: y(mark)}));
    svg.append(shape("text", {class: "axis", x: LEFT - 6, y: y(mark) + 4, "text-anchor": "end"}, short(mark)));
  }
  for (const [value, anchor] of [[xs[0], "start"], [xs[Math.floor(xs.length / 2)], "middle"], [xs.at(-1), "end"]]) {
    svg.append(shape("text", {class: "axis", x: x(value), y: HEIGHT - 6, "text-anchor": anchor}, label(value)));
  }
  for (const one of series) svg.append(shape("path", {class: `line ${one.colour}`, d: path(xs.map(x), one.ys, y)}));
  pointed(place, svg, xs, series, x, label);
  return undefined;
}

function path(xs, ys, y) {
  let drawn = "", pen = "M";
  ys.forEach((value, place) => {
    drawn += value === null ? "" : `${pen}${xs[place].toFixed(1)} ${y(value).toFixed(1)}`;
    pen = value === null ? "M" : "L";
  });
  return drawn;
}

function said(series) {
  return series.map((one) => `${one.name}: ${short(one.ys.findLast((y) => y !== null))} at last`).join(", ");
}

/** A cross hair at the pointer, and the values there in the legend; without a pointer those at the end. */
function pointed(place, svg, xs, series, x, label) {
  const cross = shape("line", {class: "cross", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden"});
  const legend = element("ul", {class: "legend"});
  const show = (share) => {
    const found = share === undefined ? xs.length - 1 : nearest(xs, x, share * WIDTH);
    cross.setAttribute("visibility", share === undefined ? "hidden" : "visible");
    for (const end of ["x1", "x2"]) cross.setAttribute(end, x(xs[found]));
    legend.replaceChildren(...series.map((one) => key(one.colour, `${one.name} ${short(one.ys[found])}`)));
    if (share !== undefined) legend.append(element("li", {}, `at ${label(xs[found])}`));
  };
  svg.append(cross);
  place.onpointermove = (event) => {
    const box = svg.getBoundingClientRect();
    place.share = (event.clientX - box.left) / box.width;
    show(place.share);
  };
  place.onpointerleave = () => { place.share = undefined; show(undefined); };
  place.replaceChildren(svg, legend);
  show(place.share);
}

function nearest(xs, x, wanted) {
  return xs.reduce((best, value, place) => Math.abs(x(value) - wanted) < Math.abs(x(xs[best]) - wanted) ? place : best, 0);
}

function key(colour, text) {
  return element("li", {}, element("span", {class: `key fill-${colour}`}), text);
}

/** A sentence where there is nothing to draw. */
export function nothing(place, sentence) {
  place.replaceChildren(element("p", {class: "empty"}, sentence));
}

/** Bars beside their names and values: [{name, value, text, title}]. */
export function bars(place, rows, colour) {
  if (!rows.length) return nothing(place, "No requests yet.");
  const most = Math.max(...rows.map((row) => row.value)) || 1;
  const made = element("div", {class: "bars"});
  for (const row of rows) {
    const bar = element("span", {class: `fill-${colour}`});
    bar.style.width = `${100 * row.value / most}%`;
    made.append(element("span", {title: row.title ?? ""}, row.name), element("div", {class: "track"}, bar), element("span", {}, row.text));
  }
  place.replaceChildren(made);
  return undefined;
}

/** One bar, shared out: [{name, count, colour}]. Without counts a sentence. */
export function share(parts, {legend = true, empty = "nothing was asked"} = {}) {
  const some = parts.filter((part) => part.count > 0), whole = some.reduce((sum, part) => sum + part.count, 0);
  if (!whole) return element("p", {class: "empty"}, empty);
  const text = (part) => `${part.name} ${short(100 * part.count / whole)} %`;
  const bar = element("div", {class: "share", role: "img", "aria-label": some.map(text).join(", ")});
  for (const part of some) {
    const piece = element("span", {class: `fill-${part.colour}`, title: `${text(part)} (${short(part.count)})`});
    piece.style.flex = `${part.count} 1 0`;
    bar.append(piece);
  }
  const made = element("div", {}, bar);
  if (legend) made.append(element("ul", {class: "legend"}, ...some.map((part) => key(part.colour, text(part)))));
  return made;
}
