"use strict";
// What is looked at: a measure, a pair of models, a quantity; and the numbers of a cell.

const data = JSON.parse(place("data").textContent);
const state = {
  measure: 0, // number of the measure
  scope: "pair", // "pair" of models, "mean" over pairs, or "all" layers at once
  a: 0,
  b: data.whole.columns.models.length > 1 ? 1 : 0,
  quantity: "values",
  range: "measure",
  cell: null, // the pair of layers that was clicked
};

const QUANTITIES = {
  values: "value",
  above: "value beyond its null level",
  calibrated: "calibrated: 0 is what chance reaches, 1 is equal",
  null: "null level",
  p: "p-value",
  p_fdr: "p-value, false discovery rate",
  p_fwer: "p-value, family-wise",
  width: "width of the interval",
  se: "standard error",
  se_sketch: "error of sketches",
  reversed: "value with the roles exchanged",
};
const LOGARITHMIC = new Set(["p", "p_fdr", "p_fwer"]);
const IN_UNITS_OF_MEASURE = new Set(["values", "null", "reversed"]);

const belonging = (side, model) => side.names.map((_, i) => i).filter(i => side.owners[i] === model);

/** What the choices stand for: the table, its measure, and which of its rows and columns are shown. */
const chosenView = () => {
  const table = state.scope === "mean" ? data.mean : data.whole;
  const measure = table.measures[state.measure];
  const all = state.scope === "all";
  const [a, b] = state.scope === "mean" ? [0, 0] : [state.a, state.b];
  const every = side => side.names.map((_, i) => i);
  return {
    table,
    measure,
    all,
    rows: all ? every(table.rows) : belonging(table.rows, a),
    columns: all ? every(table.columns) : belonging(table.columns, b),
    titles: all ? ["all models", "all models"] : [table.rows.models[a], table.columns.models[b]],
    places: placesFor(Math.max(...measure.limits.map(Math.abs))),
    pair: all ? null : measure.pairs.find(pair => pair.a === a && pair.b === b),
  };
};

const difference = (more, less) =>
  more === null || less === null || isInfinite(more) || isInfinite(less) ? null : more - less;

/** One number of a cell, null where there is none. */
const at = (view, kind, i, j) => {
  const { measure } = view;
  if (kind === "values") return measure.values[i][j];
  if (kind === "above") {
    const beyond = difference(measure.values[i][j], at(view, "null", i, j));
    return beyond === null ? null : (measure.distance ? -1 : 1) * beyond;
  }
  if (kind === "width") return difference(at(view, "high", i, j), at(view, "low", i, j));
  const found = measure.companions[kind];
  return found ? found[i][j] : null;
};

const hasQuantity = (measure, kind) => {
  if (kind === "values") return true;
  return ({ above: "null", width: "low" }[kind] || kind) in measure.companions;
};

const byChance = (view, i, j) => view.measure.chance !== null && view.measure.chance[i][j] === "1";

const owner = (side, i) => side.models[side.owners[i]];

/** The label of a layer: with its model where several are shown. */
const labelOf = (view, side, i, narrow = false) => {
  const from = view.table[side];
  const label = narrow ? from.narrow[i] : from.labels[i];
  return view.all ? from.modelLabels[from.owners[i]] + ": " + label : label;
};

const nameOf = (view, side, i) => (view.all ? owner(view.table[side], i) + ": " : "") + view.table[side].names[i];

/** Whether a cell compares a layer with itself. */
const isItself = (view, i, j) => {
  const { rows, columns } = view.table;
  const sameModel = view.all ? owner(rows, i) === owner(columns, j) : view.pair.same;
  return sameModel && rows.names[i] === columns.names[j];
};

/** The best match of a row or column: which, and whether it is better than chance; null where there is none. */
const bestOf = (view, side, i) => {
  if (!view.pair) return null;
  const place = view[side].indexOf(i);
  const j = view.pair[side === "rows" ? "bestB" : "bestA"][place];
  if (j < 0) return null;
  const [row, column] = side === "rows" ? [i, j] : [j, i];
  return { to: j, row, column, supported: !byChance(view, row, column) };
};

const isMutual = (view, match) => {
  const back = bestOf(view, "columns", match.column),
    forth = bestOf(view, "rows", match.row);
  return match.supported && back !== null && forth !== null && back.to === match.row && forth.to === match.column;
};

/** Pairs of layers with one name, in the order of rows. */
const namesakes = view => {
  if (!view.pair || view.pair.same) return [];
  const columns = new Map(view.columns.map(j => [view.table.columns.names[j], j]));
  return view.rows
    .filter(i => columns.has(view.table.rows.names[i]))
    .map(i => [i, columns.get(view.table.rows.names[i])]);
};

const finiteOnly = values => values.filter(value => value !== null && !isInfinite(value));

const extent = values => {
  let low = Infinity,
    high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  return low > high ? [0, 1] : low === high ? [low - 0.5, high + 0.5] : [low, high];
};

const allPairs = view => view.rows.flatMap(i => view.columns.map(j => [i, j]));
