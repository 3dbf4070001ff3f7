"use strict";
// Lines: a row or a column of values, layers of the same name, best matches.

const gap = value => (value === null || value === undefined || isInfinite(value) ? null : value);

const lineAxis = (labels, room, narrow) => {
  const size = 11,
    span = room / Math.max(labels.length, 1),
    level = widest(labels, size) < span - 6;
  return {
    ...bareAxis(),
    mirror: false,
    ...ticks(labels, level ? 1 : 14 / span),
    tickfont: { size },
    tickangle: level ? 0 : -90,
    range: [-0.5, labels.length - 0.5],
    narrow: undefined,
  };
};

/** One line of values, its interval as a band, null levels dotted, and what is no better than chance in open grey. */
const lineTraces = (view, cells, hover, { band = true, mode = "lines+markers" } = {}) => {
  const x = cells.map((_, place) => place),
    pick = kind => cells.map(([i, j]) => gap(at(view, kind, i, j)));
  const chance = cells.map(([i, j]) => byChance(view, i, j));
  const traces = [];
  if (band && "low" in view.measure.companions) {
    const edge = {
      type: "scatter",
      mode: "lines",
      x,
      line: { width: 0, color: colour("accent") },
      hoverinfo: "skip",
      connectgaps: false,
    };
    traces.push(
      { ...edge, y: pick("low") },
      { ...edge, y: pick("high"), fill: "tonexty", fillcolor: colour("accent") + "33" },
    );
  }
  if ("null" in view.measure.companions) {
    traces.push({
      type: "scatter",
      mode: "lines",
      x,
      y: pick("null"),
      line: { color: colour("faint"), width: 1.5, dash: "dot" },
      hoverinfo: "skip",
      name: "null level",
    });
  }
  const se =
    "se" in view.measure.companions && !("low" in view.measure.companions)
      ? { error_y: { type: "data", array: pick("se"), color: colour("accent"), thickness: 1.2, width: 3 } }
      : {};
  traces.push({
    type: "scatter",
    mode,
    x,
    y: pick("values"),
    ...se,
    text: hover,
    hoverinfo: "text",
    line: { color: colour("accent"), width: 2 },
    connectgaps: false,
    marker: {
      size: cells.length > 60 ? 4 : 7,
      color: chance.map(by => colour(by ? "page" : "accent")),
      line: { width: 1.5, color: chance.map(by => colour(by ? "faint" : "accent")) },
    },
  });
  return traces;
};

const valueAxis = view => {
  const { limits } = view.measure;
  const bounded = state.range === "measure" && Math.abs(limits[0]) < LARGEST && Math.abs(limits[1]) < LARGEST;
  const pad = (limits[1] - limits[0]) * 0.04;
  return {
    showgrid: true,
    gridcolor: colour("line"),
    zeroline: false,
    ...(bounded ? { range: [limits[0] - pad, limits[1] + pad] } : { autorange: true }),
  };
};

/** A row or a column of the chosen cell, beside it. */
const drawStrip = (view, target, side, fixedLayer, current) => {
  const others = view[side],
    cells = others.map(k => (side === "columns" ? [fixedLayer, k] : [k, fixedLayer]));
  const hover = others.map(
    (k, place) => plain(nameOf(view, side, k)) + "<br><b>" + shown(at(view, "values", ...cells[place])) + "</b>",
  );
  const here = others.indexOf(current);
  const layout = commonLayout({
    width: roomOf(target),
    height: 130,
    margin: { l: 38, r: 8, t: 6, b: 18 },
    hovermode: "closest",
    xaxis: {
      ...bareAxis(),
      mirror: false,
      showticklabels: false,
      range: [-0.7, others.length - 0.3],
      fixedrange: true,
    },
    yaxis: { ...valueAxis(view), tickfont: { size: 10 }, nticks: 4, fixedrange: true },
    shapes: [
      {
        type: "line",
        x0: here,
        x1: here,
        y0: 0,
        y1: 1,
        yref: "paper",
        line: { color: "#12b5cb", width: 2 },
        layer: "below",
      },
    ],
    paper_bgcolor: colour("surface"),
    plot_bgcolor: colour("surface"),
  });
  return draw(target, lineTraces(view, cells, hover, { band: false }), layout);
};

const drawProfile = (view, target, cells) => {
  const room = roomOf(target),
    narrow = isNarrow(room);
  const labels = cells.map(([i]) => labelOf(view, "rows", i, narrow));
  const hover = cells.map(
    ([i, j]) =>
      plain(view.table.rows.names[i]) +
      "<br><b>" +
      shown(at(view, "values", i, j)) +
      "</b>" +
      (byChance(view, i, j) ? "<br>no better than chance" : ""),
  );
  const xaxis = lineAxis(labels, room - 70, narrow);
  const bottom = (xaxis.tickangle ? widest(labels, 11) : 14) + 16;
  const layout = commonLayout({
    width: room,
    height: 260 + bottom,
    margin: { l: 55, r: 12, t: 10, b: bottom },
    hovermode: "closest",
    xaxis: { ...xaxis, fixedrange: true },
    yaxis: { ...valueAxis(view), title: { text: plain(view.measure.name), standoff: 4 }, fixedrange: true },
  });
  return draw(target, lineTraces(view, cells, hover), layout);
};

// ---- best matches ----

const KINDS_OF_MATCH = [
  { name: "each other's best match", colour: "accent", width: 2.2, dash: "solid" },
  { name: "best match of the layer on the left", colour: "second", width: 1.3, dash: "solid" },
  { name: "best match of the layer on the right", colour: "third", width: 1.3, dash: "dash" },
  { name: "no better than chance", colour: "faint", width: 1, dash: "dot" },
];

/** All best matches of both directions, each pair of layers once, by kind. */
const matchLines = view => {
  const found = KINDS_OF_MATCH.map(() => []);
  const add = (match, kind) =>
    match && found[!match.supported ? 3 : isMutual(view, match) ? 0 : kind].push([match.row, match.column]);
  for (const i of view.rows) add(bestOf(view, "rows", i), 1);
  for (const j of view.columns) {
    const match = bestOf(view, "columns", j);
    if (match && !(isMutual(view, match) && match.supported)) add(match, 2);
  }
  return found;
};

const drawMatches = (view, target) => {
  const room = roomOf(target),
    narrow = isNarrow(room),
    size = narrow ? 10 : 12;
  const most = Math.max(view.rows.length, view.columns.length);
  const step = Math.min(Math.max(320 / most, 18), 40, 840 / most),
    height = most * step + 80;
  const heightOf = (side, i) => (view[side].length === 1 ? 0.5 : view[side].indexOf(i) / (view[side].length - 1));
  const [left, right] = ["rows", "columns"].map(side => view[side].map(i => labelOf(view, side, i, narrow)));
  const lines = matchLines(view).map((pairs, kind) => ({
    type: "scatter",
    mode: "lines",
    name: KINDS_OF_MATCH[kind].name + " (" + pairs.length + ")",
    showlegend: pairs.length > 0,
    hoverinfo: "skip",
    x: pairs.flatMap(() => [0, 1, null]),
    y: pairs.flatMap(([i, j]) => [heightOf("rows", i), heightOf("columns", j), null]),
    line: {
      color: colour(KINDS_OF_MATCH[kind].colour),
      width: KINDS_OF_MATCH[kind].width,
      dash: KINDS_OF_MATCH[kind].dash,
    },
    opacity: kind === 3 ? 0.6 : 0.9,
  }));
  const dots = (side, x, yaxis) => ({
    type: "scatter",
    mode: "markers",
    x: view[side].map(() => x),
    y: view[side].map(i => heightOf(side, i)),
    showlegend: false,
    yaxis,
    text: view[side].map(i => matchHover(view, side, i)),
    hoverinfo: "text",
    marker: { size: 7, color: colour("ink") },
  });
  const sideAxis = (side, labels) => {
    const few = ticks(labels, (size + 2) / step);
    return {
      ...bareAxis(),
      showline: false,
      ...few,
      ticks: "",
      tickvals: few.tickvals.map(k => heightOf(side, view[side][k])),
      tickfont: { size },
      range: [-0.03, 1.03],
      fixedrange: true,
    };
  };
  const layout = commonLayout({
    width: Math.min(room, 900),
    height,
    margin: {
      l: Math.min(widest(left, size) + 14, room * 0.4),
      r: Math.min(widest(right, size) + 14, room * 0.4),
      t: 50,
      b: 14,
    },
    showlegend: true,
    legend: {
      orientation: "h",
      traceorder: "reversed",
      y: 1.01,
      yanchor: "bottom",
      x: 0.5,
      xanchor: "center",
      font: { size: narrow ? 10 : 12 },
      itemwidth: 30,
    },
    hovermode: "closest",
    xaxis: { visible: false, range: [-0.03, 1.03], fixedrange: true },
    yaxis: sideAxis("rows", left),
    yaxis2: { ...sideAxis("columns", right), overlaying: "y", side: "right" },
  });
  return draw(target, [...lines.reverse(), dots("rows", 0, "y"), dots("columns", 1, "y2")], layout);
};

const matchHover = (view, side, i) => {
  const match = bestOf(view, side, i),
    other = side === "rows" ? "columns" : "rows";
  const told =
    match === null
      ? "no value"
      : match.supported
        ? "→ " +
          plain(nameOf(view, other, match.to)) +
          "<br><b>" +
          shown(at(view, "values", match.row, match.column)) +
          "</b>"
        : "no match better than chance";
  return plain(nameOf(view, side, i)) + "<br>" + told;
};
