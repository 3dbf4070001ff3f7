"use strict";
// Pictures, all of them drawn by plotly.

const MAGMA = [[0, "#000004"], [0.125, "#1c1044"], [0.25, "#4f127b"], [0.375, "#812581"], [0.5, "#b5367a"],
               [0.625, "#e55964"], [0.75, "#fb8761"], [0.875, "#fec287"], [1, "#fcfdbf"]];
const GREYS = [[0, "#66646f"], [1, "#f4f3f7"]];
const NUMBERED = 12; // layers a side up to which cells hold their numbers
const CONFIGURATION = { displayModeBar: false, responsive: false, doubleClick: "reset" };
const FONT = "system-ui, sans-serif";

const colour = name => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();

const ruler = document.createElement("canvas").getContext("2d");
const widthOf = (text, size) => {
  ruler.font = size + "px " + FONT;
  return ruler.measureText(text).width;
};
const widest = (texts, size) => texts.reduce((most, text) => Math.max(most, widthOf(text, size)), 0);

const roomOf = target => (state.printing ? Math.min(660, target.clientWidth || 660) : target.clientWidth);
const isNarrow = room => room < 560;

/** What all pictures share. */
const commonLayout = more => ({
  paper_bgcolor: colour("page"), plot_bgcolor: colour("page"), showlegend: false, dragmode: false, autosize: false,
  font: { family: FONT, size: 12, color: colour("ink") },
  hoverlabel: { align: "left", bgcolor: colour("surface"), bordercolor: colour("line"), font: { family: FONT, color: colour("ink"), size: 12 } },
  ...more,
});

const draw = (target, traces, layout) => Plotly.react(target, traces, layout, CONFIGURATION);

/** Places of tick labels that have room: each so many pixels. */
const ticks = (labels, step) => {
  const every = Math.max(1, Math.ceil(step));
  const places = labels.map((_, i) => i).filter(i => i % every === 0);
  return { tickmode: "array", tickvals: places, ticktext: places.map(i => plain(labels[i])), ticks: "outside", ticklen: 3, tickcolor: colour("line") };
};

const bareAxis = () => ({ showgrid: false, zeroline: false, automargin: false, linecolor: colour("line"), showline: true, mirror: true });

// ---- the heatmap ----

/** Values as they are coloured: probabilities by their logarithm. */
const coloured = value => {
  if (value === null) return null;
  return LOGARITHMIC.has(state.quantity) ? Math.log10(Math.max(value, 1e-16)) : value;
};

const colourLimits = (view, matrix) => {
  if (IN_UNITS_OF_MEASURE.has(state.quantity) && state.range === "measure") return view.measure.limits;
  const [low, high] = extent(finiteOnly(matrix.flat()));
  if (LOGARITHMIC.has(state.quantity)) return [Math.min(low, -2), 0];
  return state.quantity === "above" ? [Math.min(low, 0), high] : [low, high];
};

const colourBar = (view, limits, narrow) => {
  const bar = { thickness: 13, outlinewidth: 0 };
  if (narrow) Object.assign(bar, { orientation: "h", y: 1, yanchor: "bottom", len: 1, x: 0.5, xanchor: "center", ypad: 4 });
  else Object.assign(bar, { x: 1.01, xanchor: "left", len: 1 });
  if (LOGARITHMIC.has(state.quantity)) {
    const powers = Array.from({ length: Math.floor(-limits[0]) + 1 }, (_, i) => -i).filter(power => power % Math.ceil(-limits[0] / 6) === 0);
    Object.assign(bar, { tickvals: powers, ticktext: powers.map(power => (power > -4 ? String(Number((10 ** power).toFixed(3))) : "1e−" + -power)) });
  }
  return bar;
};

/** Whether dark is alike: distances, and probabilities, of which small ones speak against chance. */
const isReversed = view => (view.measure.distance ? !["above", ...LOGARITHMIC].includes(state.quantity) : LOGARITHMIC.has(state.quantity));

const cellText = (view, i, j) => {
  const value = at(view, state.quantity, i, j);
  return LOGARITHMIC.has(state.quantity) ? probability(value) : fixed(value, Math.max(view.places - 1, 0));
};

const hoverText = (view, i, j) => {
  const value = at(view, state.quantity, i, j);
  const told = LOGARITHMIC.has(state.quantity) ? probability(value) || "no value" : shown(value);
  const best = [["rows", i, j], ["columns", j, i]].some(([side, from, to]) => {
    const match = bestOf(view, side, from);
    return match !== null && match.supported && match.to === to;
  });
  const note = byChance(view, i, j) ? "<br>no better than chance" : best ? "<br>best match" : "";
  return plain(nameOf(view, "rows", i)) + "<br>" + plain(nameOf(view, "columns", j)) + "<br><b>" + told + "</b>" + note;
};

const heatmapGeometry = (view, room) => {
  const narrow = isNarrow(room);
  const [rows, columns] = ["rows", "columns"].map(side => view[side].map(i => labelOf(view, side, i, narrow)));
  const bar = narrow ? 12 : 62, size = narrow ? 10 : 12;
  const left = Math.min(widest(rows, size) + 14, room * 0.45) + 24;
  const most = Math.max(46, Math.min(84, 560 / Math.max(rows.length, columns.length)));
  const cell = Math.max(2, Math.min(most, (room - left - bar) / columns.length));
  const level = widest(columns, size) < cell - 4;
  const bottom = (level ? 24 : widest(columns, size) + 12) + 28;
  const high = Math.max(cell, Math.min(13, 520 / rows.length));
  return { narrow, rows, columns, size, left, right: bar, cell, high, level, bottom, top: narrow ? 72 : 30 };
};

/** Two layers of colour: values beyond chance, and in grey those that are no better. */
const heatmapTraces = (view, shape) => {
  const matrix = view.rows.map(i => view.columns.map(j => coloured(at(view, state.quantity, i, j))));
  const limits = colourLimits(view, matrix);
  const split = wanted => matrix.map((line, r) => line.map((z, c) => (byChance(view, view.rows[r], view.columns[c]) === wanted ? z : null)));
  const numbered = Math.max(view.rows.length, view.columns.length) <= NUMBERED && shape.cell >= 34;
  const common = {
    type: "heatmap", zmin: limits[0], zmax: limits[1], reversescale: isReversed(view), hoverinfo: "text", hoverongaps: false,
    hovertext: view.rows.map(i => view.columns.map(j => hoverText(view, i, j))), xgap: shape.cell > 8 ? 1 : 0, ygap: shape.cell > 8 ? 1 : 0,
  };
  const layer = (chance, more) => {
    const z = split(chance);
    const text = () => z.map((line, r) => line.map((value, c) => (value === null ? "" : cellText(view, view.rows[r], view.columns[c]))));
    return { ...common, z, ...more, ...(numbered && { text: text(), texttemplate: "%{text}", textfont: { size: 12 } }) };
  };
  const colorbar = colourBar(view, limits, shape.narrow), traces = [layer(false, { colorscale: MAGMA, colorbar })];
  if (!view.measure.chance) return traces;
  // Where nothing is beyond chance, the scale is that of the greys.
  const showscale = traces[0].z.every(line => line.every(value => value === null));
  return [...traces, layer(true, { colorscale: GREYS, colorbar, showscale })];
};

/** Signs in cells: where cells are large, in their corner. */
const signs = (cells, shape, marker) => {
  const corner = Math.min(shape.cell, shape.high) >= 26 ? 0.34 : 0;
  return { type: "scatter", mode: "markers", x: cells.map(cell => cell[1] + corner), y: cells.map(cell => cell[0] + corner), hoverinfo: "skip",
           marker: { size: Math.max(3, Math.min(8, Math.min(shape.cell, shape.high) / 3)), ...marker } };
};

const signTraces = (view, shape) => {
  const best = view.rows.map((i, r) => [r, bestOf(view, "rows", i)]).filter(([, match]) => match && match.supported)
    .map(([r, match]) => [r, view.columns.indexOf(match.to)]);
  const found = [signs(best, shape, { color: "#ffffff", line: { color: "#000000", width: 1 } })];
  if (view.measure.chance && Math.min(shape.cell, shape.high) >= 9 && view.rows.length * view.columns.length <= 2500) {
    const crossed = view.rows.flatMap((i, r) => view.columns.map((j, c) => [r, c, i, j])).filter(([, , i, j]) => byChance(view, i, j));
    found.push(signs(crossed, shape, { symbol: "x-thin", line: { color: "#3d3b45", width: 1 } }));
  }
  return found;
};

const outline = (row, column) => ({
  type: "rect", x0: column - 0.5, x1: column + 0.5, y0: row - 0.5, y1: row + 0.5, line: { color: "#12b5cb", width: 3 },
});

/** Lines between the models where all layers are shown at once. */
const separators = view => {
  if (!view.all) return [];
  const ends = side => view[side].map((i, place) => place).filter(p => p > 0 && view.table[side].owners[view[side][p]] !== view.table[side].owners[view[side][p - 1]]);
  const line = { color: "#ffffff", width: 1.5 };
  return [...ends("columns").map(x => ({ type: "line", x0: x - 0.5, x1: x - 0.5, y0: 0, y1: 1, yref: "paper", line })),
          ...ends("rows").map(y => ({ type: "line", y0: y - 0.5, y1: y - 0.5, x0: 0, x1: 1, xref: "paper", line }))];
};

/** What is shown, above the picture, for those who see it outside of the page. */
const heading = (view, shape) => ({
  text: plain(view.measure.name + (state.quantity === "values" ? "" : ": " + QUANTITIES[state.quantity])), showarrow: false,
  x: 0, xref: "paper", xanchor: "left", y: 1, yref: "paper", yanchor: "bottom", yshift: shape.narrow ? 42 : 4, font: { size: 13 },
});

const marked = (view, cell) => {
  const row = cell ? view.rows.indexOf(cell[0]) : -1, column = cell ? view.columns.indexOf(cell[1]) : -1;
  return [...separators(view), ...(row >= 0 && column >= 0 ? [outline(row, column)] : [])];
};

const drawHeatmap = (view, target, cell) => {
  const shape = heatmapGeometry(view, roomOf(target));
  const axis = (labels, pixels) => ({ ...bareAxis(), ...ticks(labels, (shape.size + 1) / pixels), tickfont: { size: shape.size }, range: [-0.5, labels.length - 0.5] });
  const title = text => ({ text: plain(text.length > 40 ? text.slice(0, 19) + "…" + text.slice(-20) : text), standoff: 6, font: { size: 13 } });
  const layout = commonLayout({
    width: shape.left + shape.right + shape.cell * view.columns.length, height: shape.top + shape.bottom + shape.high * view.rows.length,
    margin: { l: shape.left, r: shape.right, t: shape.top, b: shape.bottom }, plot_bgcolor: colour("missing"),
    xaxis: { ...axis(shape.columns, shape.cell), tickangle: shape.level ? 0 : -90, title: title(view.titles[1]) },
    yaxis: { ...axis(shape.rows, shape.high), title: title(view.titles[0]) },
    annotations: [heading(view, shape)],
    shapes: marked(view, cell), hovermode: "closest",
  });
  const coarse = matchMedia("(pointer: coarse)").matches;
  layout.dragmode = coarse ? false : "zoom";
  layout.xaxis.fixedrange = layout.yaxis.fixedrange = coarse;
  return draw(target, [...heatmapTraces(view, shape), ...signTraces(view, shape)], layout);
};

// ---- lines ----

const gap = value => (value === null || value === undefined || isInfinite(value) ? null : value);

const lineAxis = (labels, room, narrow) => {
  const size = 11, span = room / Math.max(labels.length, 1), level = widest(labels, size) < span - 6;
  return { ...bareAxis(), mirror: false, ...ticks(labels, level ? 1 : 14 / span), tickfont: { size }, tickangle: level ? 0 : -90, range: [-0.5, labels.length - 0.5], narrow: undefined };
};

/** One line of values, its interval as a band, null levels dotted, and what is no better than chance in open grey. */
const lineTraces = (view, cells, hover, { band = true, mode = "lines+markers" } = {}) => {
  const x = cells.map((_, place) => place), pick = kind => cells.map(([i, j]) => gap(at(view, kind, i, j)));
  const chance = cells.map(([i, j]) => byChance(view, i, j));
  const traces = [];
  if (band && "low" in view.measure.companions) {
    const edge = { type: "scatter", mode: "lines", x, line: { width: 0, color: colour("accent") }, hoverinfo: "skip", connectgaps: false };
    traces.push({ ...edge, y: pick("low") }, { ...edge, y: pick("high"), fill: "tonexty", fillcolor: colour("accent") + "33" });
  }
  if ("null" in view.measure.companions) {
    traces.push({ type: "scatter", mode: "lines", x, y: pick("null"), line: { color: colour("faint"), width: 1.5, dash: "dot" }, hoverinfo: "skip", name: "null level" });
  }
  const se = "se" in view.measure.companions && !("low" in view.measure.companions) ? { error_y: { type: "data", array: pick("se"), color: colour("accent"), thickness: 1.2, width: 3 } } : {};
  traces.push({
    type: "scatter", mode, x, y: pick("values"), ...se, text: hover, hoverinfo: "text", line: { color: colour("accent"), width: 2 }, connectgaps: false,
    marker: { size: cells.length > 60 ? 4 : 7, color: chance.map(by => colour(by ? "page" : "accent")), line: { width: 1.5, color: chance.map(by => colour(by ? "faint" : "accent")) } },
  });
  return traces;
};

const valueAxis = view => {
  const { limits } = view.measure;
  const bounded = state.range === "measure" && Math.abs(limits[0]) < LARGEST && Math.abs(limits[1]) < LARGEST;
  const pad = (limits[1] - limits[0]) * 0.04;
  return { showgrid: true, gridcolor: colour("line"), zeroline: false, ...(bounded ? { range: [limits[0] - pad, limits[1] + pad] } : { autorange: true }) };
};

/** A row or a column of the chosen cell, beside it. */
const drawStrip = (view, target, side, fixedLayer, current) => {
  const others = view[side], cells = others.map(k => (side === "columns" ? [fixedLayer, k] : [k, fixedLayer]));
  const hover = others.map((k, place) => plain(nameOf(view, side, k)) + "<br><b>" + shown(at(view, "values", ...cells[place])) + "</b>");
  const here = others.indexOf(current);
  const layout = commonLayout({
    width: roomOf(target), height: 130, margin: { l: 38, r: 8, t: 6, b: 18 }, hovermode: "closest",
    xaxis: { ...bareAxis(), mirror: false, showticklabels: false, range: [-0.7, others.length - 0.3], fixedrange: true },
    yaxis: { ...valueAxis(view), tickfont: { size: 10 }, nticks: 4, fixedrange: true },
    shapes: [{ type: "line", x0: here, x1: here, y0: 0, y1: 1, yref: "paper", line: { color: "#12b5cb", width: 2 }, layer: "below" }],
    paper_bgcolor: colour("surface"), plot_bgcolor: colour("surface"),
  });
  return draw(target, lineTraces(view, cells, hover, { band: false }), layout);
};

const drawProfile = (view, target, cells) => {
  const room = roomOf(target), narrow = isNarrow(room);
  const labels = cells.map(([i]) => labelOf(view, "rows", i, narrow));
  const hover = cells.map(([i, j]) => plain(view.table.rows.names[i]) + "<br><b>" + shown(at(view, "values", i, j)) + "</b>" + (byChance(view, i, j) ? "<br>no better than chance" : ""));
  const xaxis = lineAxis(labels, room - 70, narrow);
  const bottom = (xaxis.tickangle ? widest(labels, 11) : 14) + 16;
  const layout = commonLayout({
    width: room, height: 260 + bottom, margin: { l: 55, r: 12, t: 10, b: bottom }, hovermode: "closest",
    xaxis: { ...xaxis, fixedrange: true },
    yaxis: { ...valueAxis(view), title: { text: plain(view.measure.name), standoff: 4 }, fixedrange: true },
  });
  return draw(target, lineTraces(view, cells, hover), layout);
};

// ---- best matches ----

const KINDS_OF_MATCH = [
  { name: "each other's best", colour: "accent", width: 2.2, dash: "solid" },
  { name: "best of the left layer", colour: "second", width: 1.3, dash: "solid" },
  { name: "best of the right layer", colour: "third", width: 1.3, dash: "dash" },
  { name: "no better than chance", colour: "faint", width: 1, dash: "dot" },
];

/** All best matches of both directions, each pair of layers once, by kind. */
const matchLines = view => {
  const found = KINDS_OF_MATCH.map(() => []);
  const add = (match, kind) => match && found[!match.supported ? 3 : isMutual(view, match) ? 0 : kind].push([match.row, match.column]);
  for (const i of view.rows) add(bestOf(view, "rows", i), 1);
  for (const j of view.columns) {
    const match = bestOf(view, "columns", j);
    if (match && !(isMutual(view, match) && match.supported)) add(match, 2);
  }
  return found;
};

const drawMatches = (view, target) => {
  const room = roomOf(target), narrow = isNarrow(room), size = narrow ? 10 : 12;
  const most = Math.max(view.rows.length, view.columns.length);
  const step = Math.min(Math.max(320 / most, 18), 40, 840 / most), height = most * step + 80;
  const heightOf = (side, i) => (view[side].length === 1 ? 0.5 : view[side].indexOf(i) / (view[side].length - 1));
  const [left, right] = ["rows", "columns"].map(side => view[side].map(i => labelOf(view, side, i, narrow)));
  const lines = matchLines(view).map((pairs, kind) => ({
    type: "scatter", mode: "lines", name: KINDS_OF_MATCH[kind].name + " (" + pairs.length + ")", showlegend: pairs.length > 0, hoverinfo: "skip",
    x: pairs.flatMap(() => [0, 1, null]), y: pairs.flatMap(([i, j]) => [heightOf("rows", i), heightOf("columns", j), null]),
    line: { color: colour(KINDS_OF_MATCH[kind].colour), width: KINDS_OF_MATCH[kind].width, dash: KINDS_OF_MATCH[kind].dash },
    opacity: kind === 3 ? 0.6 : 0.9,
  }));
  const dots = (side, x, yaxis) => ({
    type: "scatter", mode: "markers", x: view[side].map(() => x), y: view[side].map(i => heightOf(side, i)), showlegend: false, yaxis,
    text: view[side].map(i => matchHover(view, side, i)), hoverinfo: "text", marker: { size: 7, color: colour("ink") },
  });
  const sideAxis = (side, labels) => {
    const few = ticks(labels, (size + 2) / step);
    return { ...bareAxis(), showline: false, ...few, ticks: "", tickvals: few.tickvals.map(k => heightOf(side, view[side][k])), tickfont: { size }, range: [-0.03, 1.03], fixedrange: true };
  };
  const layout = commonLayout({
    width: Math.min(room, 900), height, margin: { l: Math.min(widest(left, size) + 14, room * 0.4), r: Math.min(widest(right, size) + 14, room * 0.4), t: 50, b: 14 },
    showlegend: true, legend: { orientation: "h", traceorder: "reversed", y: 1.01, yanchor: "bottom", x: 0.5, xanchor: "center", font: { size: narrow ? 10 : 12 }, itemwidth: 30 }, hovermode: "closest",
    xaxis: { visible: false, range: [-0.03, 1.03], fixedrange: true },
    yaxis: sideAxis("rows", left), yaxis2: { ...sideAxis("columns", right), overlaying: "y", side: "right" },
  });
  return draw(target, [...lines.reverse(), dots("rows", 0, "y"), dots("columns", 1, "y2")], layout);
};

const matchHover = (view, side, i) => {
  const match = bestOf(view, side, i), other = side === "rows" ? "columns" : "rows";
  const told = match === null ? "no value" : match.supported ? "→ " + plain(nameOf(view, other, match.to)) + "<br><b>" + shown(at(view, "values", match.row, match.column)) + "</b>"
    : "no match better than chance";
  return plain(nameOf(view, side, i)) + "<br>" + told;
};
