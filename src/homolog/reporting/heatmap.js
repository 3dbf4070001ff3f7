"use strict";
// The heatmap: its colours, its size, the signs in its cells.

/** Values as they are coloured: probabilities by their logarithm. */
const coloured = value => {
  if (value === null) return null;
  return LOGARITHMIC.has(state.quantity) ? Math.log10(Math.max(value, 1e-16)) : value;
};

const colourLimits = (view, matrix) => {
  if (state.quantity === "calibrated") return [0, 1];
  if (IN_UNITS_OF_MEASURE.has(state.quantity) && state.range === "measure") return view.measure.limits;
  const [low, high] = extent(finiteOnly(matrix.flat()));
  if (LOGARITHMIC.has(state.quantity)) return [Math.min(low, -2), 0];
  return state.quantity === "above" ? [Math.min(low, 0), high] : [low, high];
};

const colourBar = (view, limits, narrow) => {
  const bar = { thickness: 13, outlinewidth: 0 };
  if (narrow)
    Object.assign(bar, { orientation: "h", y: 1, yanchor: "bottom", len: 1, x: 0.5, xanchor: "center", ypad: 4 });
  else Object.assign(bar, { x: 1.01, xanchor: "left", len: 1 });
  if (LOGARITHMIC.has(state.quantity)) {
    const powers = Array.from({ length: Math.floor(-limits[0]) + 1 }, (_, i) => -i).filter(
      power => power % Math.ceil(-limits[0] / 6) === 0,
    );
    Object.assign(bar, {
      tickvals: powers,
      ticktext: powers.map(power => (power > -4 ? String(Number((10 ** power).toFixed(3))) : "1e−" + -power)),
    });
  }
  return bar;
};

/** Whether dark is alike: distances, and probabilities, of which small ones speak against chance. */
const isReversed = view =>
  view.measure.distance ? !["above", "calibrated", ...LOGARITHMIC].includes(state.quantity) : LOGARITHMIC.has(state.quantity);

const cellText = (view, i, j) => {
  const value = at(view, state.quantity, i, j);
  return LOGARITHMIC.has(state.quantity) ? probability(value) : fixed(value, Math.max(view.places - 1, 0));
};

const hoverText = (view, i, j) => {
  const value = at(view, state.quantity, i, j);
  const told = LOGARITHMIC.has(state.quantity) ? probability(value) || "no value" : shown(value);
  const best = [
    ["rows", i, j],
    ["columns", j, i],
  ].some(([side, from, to]) => {
    const match = bestOf(view, side, from);
    return match !== null && match.supported && match.to === to;
  });
  const note = byChance(view, i, j) ? "<br>no better than chance" : best ? "<br>best match" : "";
  return plain(nameOf(view, "rows", i)) + "<br>" + plain(nameOf(view, "columns", j)) + "<br><b>" + told + "</b>" + note;
};

const heatmapGeometry = (view, room) => {
  const narrow = isNarrow(room);
  const [rows, columns] = ["rows", "columns"].map(side => view[side].map(i => labelOf(view, side, i, narrow)));
  const bar = narrow ? 12 : 62,
    size = narrow ? 10 : 12;
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
  const split = wanted =>
    matrix.map((line, r) => line.map((z, c) => (byChance(view, view.rows[r], view.columns[c]) === wanted ? z : null)));
  const numbered = Math.max(view.rows.length, view.columns.length) <= NUMBERED && shape.cell >= 34;
  const common = {
    type: "heatmap",
    zmin: limits[0],
    zmax: limits[1],
    reversescale: isReversed(view),
    hoverinfo: "text",
    hoverongaps: false,
    hovertext: view.rows.map(i => view.columns.map(j => hoverText(view, i, j))),
    xgap: shape.cell > 8 ? 1 : 0,
    ygap: shape.cell > 8 ? 1 : 0,
  };
  const layer = (chance, more) => {
    const z = split(chance);
    const text = () =>
      z.map((line, r) => line.map((value, c) => (value === null ? "" : cellText(view, view.rows[r], view.columns[c]))));
    return {
      ...common,
      z,
      ...more,
      ...(numbered && { text: text(), texttemplate: "%{text}", textfont: { size: 12 } }),
    };
  };
  const colorbar = colourBar(view, limits, shape.narrow),
    traces = [layer(false, { colorscale: MAGMA, colorbar })];
  if (!view.measure.chance) return traces;
  // Where nothing is beyond chance, the scale is that of the greys.
  const showscale = traces[0].z.every(line => line.every(value => value === null));
  return [...traces, layer(true, { colorscale: GREYS, colorbar, showscale })];
};

/** Signs in cells: where cells are large, in their corner. */
const signs = (cells, shape, marker) => {
  const corner = Math.min(shape.cell, shape.high) >= 26 ? 0.34 : 0;
  return {
    type: "scatter",
    mode: "markers",
    x: cells.map(cell => cell[1] + corner),
    y: cells.map(cell => cell[0] + corner),
    hoverinfo: "skip",
    marker: { size: Math.max(3, Math.min(8, Math.min(shape.cell, shape.high) / 3)), ...marker },
  };
};

const signTraces = (view, shape) => {
  const best = view.rows
    .map((i, r) => [r, bestOf(view, "rows", i)])
    .filter(([, match]) => match && match.supported)
    .map(([r, match]) => [r, view.columns.indexOf(match.to)]);
  const found = [signs(best, shape, { color: "#ffffff", line: { color: "#000000", width: 1 } })];
  if (view.measure.chance && Math.min(shape.cell, shape.high) >= 9 && view.rows.length * view.columns.length <= 2500) {
    const crossed = view.rows
      .flatMap((i, r) => view.columns.map((j, c) => [r, c, i, j]))
      .filter(([, , i, j]) => byChance(view, i, j));
    found.push(signs(crossed, shape, { symbol: "x-thin", line: { color: "#3d3b45", width: 1 } }));
  }
  return found;
};

const outline = (row, column) => ({
  type: "rect",
  x0: column - 0.5,
  x1: column + 0.5,
  y0: row - 0.5,
  y1: row + 0.5,
  line: { color: "#12b5cb", width: 3 },
});

/** Lines between the models where all layers are shown at once. */
const separators = view => {
  if (!view.all) return [];
  const ends = side =>
    view[side]
      .map((i, place) => place)
      .filter(p => p > 0 && view.table[side].owners[view[side][p]] !== view.table[side].owners[view[side][p - 1]]);
  const line = { color: "#ffffff", width: 1.5 };
  return [
    ...ends("columns").map(x => ({ type: "line", x0: x - 0.5, x1: x - 0.5, y0: 0, y1: 1, yref: "paper", line })),
    ...ends("rows").map(y => ({ type: "line", y0: y - 0.5, y1: y - 0.5, x0: 0, x1: 1, xref: "paper", line })),
  ];
};

/** What is shown, above the picture, for those who see it outside of the page. */
const heading = (view, shape) => ({
  text: plain(view.measure.name + (state.quantity === "values" ? "" : ": " + QUANTITIES[state.quantity])),
  showarrow: false,
  x: 0,
  xref: "paper",
  xanchor: "left",
  y: 1,
  yref: "paper",
  yanchor: "bottom",
  yshift: shape.narrow ? 42 : 4,
  font: { size: 13 },
});

const marked = (view, cell) => {
  const row = cell ? view.rows.indexOf(cell[0]) : -1,
    column = cell ? view.columns.indexOf(cell[1]) : -1;
  return [...separators(view), ...(row >= 0 && column >= 0 ? [outline(row, column)] : [])];
};

const drawHeatmap = (view, target, cell) => {
  const shape = heatmapGeometry(view, roomOf(target));
  const axis = (labels, pixels) => ({
    ...bareAxis(),
    ...ticks(labels, (shape.size + 1) / pixels),
    tickfont: { size: shape.size },
    range: [-0.5, labels.length - 0.5],
  });
  const title = text => ({
    text: plain(text.length > 40 ? text.slice(0, 19) + "…" + text.slice(-20) : text),
    standoff: 6,
    font: { size: 13 },
  });
  const layout = commonLayout({
    width: shape.left + shape.right + shape.cell * view.columns.length,
    height: shape.top + shape.bottom + shape.high * view.rows.length,
    margin: { l: shape.left, r: shape.right, t: shape.top, b: shape.bottom },
    plot_bgcolor: colour("missing"),
    xaxis: { ...axis(shape.columns, shape.cell), tickangle: shape.level ? 0 : -90, title: title(view.titles[1]) },
    yaxis: { ...axis(shape.rows, shape.high), title: title(view.titles[0]) },
    annotations: [heading(view, shape)],
    shapes: marked(view, cell),
    hovermode: "closest",
  });
  const coarse = matchMedia("(pointer: coarse)").matches;
  layout.dragmode = coarse ? false : "zoom";
  layout.xaxis.fixedrange = layout.yaxis.fixedrange = coarse;
  return draw(target, [...heatmapTraces(view, shape), ...signTraces(view, shape)], layout);
};
