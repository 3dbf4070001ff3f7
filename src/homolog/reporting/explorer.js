"use strict";
// What happens when: choices, hovering, clicks, keys, printing.

let view = chosenView();
let hovered = null;
let pairsTable = null;

const fillSelect = (id, options, chosen) => {
  const select = place(id);
  select.replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
  select.value = String(chosen);
  select.closest(".control").hidden = options.length < 2;
};

const fillChoices = () => {
  const { rows, columns, measures } = data.whole;
  fillSelect(
    "measure",
    measures.map((measure, k) => [k, measure.name]),
    state.measure,
  );
  place("measure").closest(".control").hidden = false;
  const scopes = [
    ["pair", "one pair"],
    ...(data.mean ? [["mean", "mean over pairs"]] : []),
    ["all", "all layers at once"],
  ];
  fillSelect("scope", data.many ? scopes : [], state.scope);
  const pairs = data.many && state.scope === "pair";
  fillSelect("model-a", pairs ? rows.models.map((name, k) => [k, name]) : [], state.a);
  fillSelect("model-b", pairs ? columns.models.map((name, k) => [k, name]) : [], state.b);
  const kinds = Object.keys(QUANTITIES).filter(kind => hasQuantity(view.measure, kind));
  if (!kinds.includes(state.quantity)) state.quantity = "values";
  fillSelect(
    "quantity",
    kinds.map(kind => [kind, QUANTITIES[kind]]),
    state.quantity,
  );
  place("range").disabled = !IN_UNITS_OF_MEASURE.has(state.quantity);
};

/** The cell to begin with: the first row that has a best match, else the first value. */
const firstCell = () => {
  for (const wanted of [true, false]) {
    for (const i of view.rows) {
      const match = bestOf(view, "rows", i);
      if (match && (match.supported || !wanted)) return [match.row, match.column];
    }
  }
  return allPairs(view).find(cell => at(view, "values", ...cell) !== null) || null;
};

const keepCell = () => {
  const [i, j] = state.cell || [-1, -1];
  if (!view.rows.includes(i) || !view.columns.includes(j)) state.cell = firstCell();
};

/** What counts as chance, for the measure at hand. */
const ruleOfChance = () => {
  const rules = { p_fdr: "adjusted p above " + data.alpha, null: "no more alike than the null level" };
  return Object.keys(rules)
    .filter(kind => kind in view.measure.companions)
    .map(kind => rules[kind])
    .join(", or ");
};

/** What to know of best matches that nothing tested. */
const untested = () => {
  if (view.measure.tested) return "";
  if (view.table.averaged) return "A mean over models is not tested against chance: look at single pairs of models.";
  return "Nothing tests these values against chance, so that a best match may be no more than that: homolog.compare(..., null='permutation') gives p-values.";
};

const describe = (id, text) => place(id).setAttribute("aria-label", text);

const tell = () => {
  place("now").textContent = view.measure.name + ": " + view.titles.join(" × ");
  place("reading").textContent = data.about[view.measure.name].reading;
  place("untested").textContent = untested();
  place("untested").hidden = view.measure.tested;
  const prefixes = new Set(
    ["rows", "columns"]
      .filter(side => view.table[side].labels.some((label, i) => label !== view.table[side].names[i]))
      .map(side => view.table[side].prefix)
      .filter(Boolean),
  );
  const legend = [
    view.measure.distance ? "Light is alike (a small distance)" : "Light is alike",
    view.all ? null : "a white dot marks the best match of a row",
    view.measure.chance ? "grey and × are no better than chance (" + ruleOfChance() + ")" : null,
    "an empty cell has no value",
    prefixes.size
      ? "a label that begins with … leaves out " + [...prefixes].map(prefix => "“" + prefix + "”").join(" or ")
      : null,
  ];
  place("legend").textContent = legend.filter(Boolean).join("; ") + ".";
  describe(
    "heatmap",
    "Heatmap of " +
      view.measure.name +
      ", " +
      view.titles.join(" by ") +
      ": " +
      view.rows.length +
      " by " +
      view.columns.length +
      " layers",
  );
  describe("profile-picture", "Line of values of layers of the same name; the table below it holds the numbers.");
  describe("matches-picture", "Lines between best matches; the tables below it hold them.");
};

const profileCells = () => namesakes(view).filter(cell => at(view, "values", ...cell) !== null);

const showProfile = () => {
  const cells = profileCells();
  place("profile").hidden = cells.length < 2;
  if (cells.length < 2) return [];
  const extras = [
    "low" in view.measure.companions ? "the band is the interval" : null,
    "null" in view.measure.companions
      ? "the dotted line is the null level, what independent data give on average"
      : null,
    "se" in view.measure.companions && !("low" in view.measure.companions) ? "bars are one standard error" : null,
    cells.some(cell => byChance(view, ...cell)) ? "open grey points are no better than chance" : null,
  ]
    .filter(Boolean)
    .join("; ");
  place("profile-told").textContent =
    view.measure.name +
    " of each layer of " +
    view.titles[0] +
    " with the layer of the same name of " +
    view.titles[1] +
    ", in the order of the layers" +
    (extras ? "; " + extras : "") +
    ".";
  showProfileTable(view, place("profile-table"), cells);
  return [drawProfile(view, place("profile-picture"), cells)];
};

const showMatchSection = () => {
  place("matches").hidden = view.all;
  if (view.all) return [];
  place("matches-told").textContent =
    "The layers of " +
    view.titles[0] +
    " stand on the left, those of " +
    view.titles[1] +
    " on the right, the first at the bottom. Lines lead from each layer to the one that is most alike by " +
    view.measure.name +
    (view.pair.same ? ", other than itself" : "") +
    ". “Mutual” are pairs that are each other’s best match. Click a name in the legend to hide its lines.";
  showMatches(view, place("matches-a"), "rows");
  place("matches-picture").parentElement.hidden = matchLines(view).every(lines => lines.length === 0);
  place("matches-b").hidden = view.pair.same && view.measure.symmetric;
  if (!place("matches-b").hidden) showMatches(view, place("matches-b"), "columns");
  return [drawMatches(view, place("matches-picture"))];
};

/** Everything anew. */
const refresh = async () => {
  view = chosenView();
  fillChoices();
  keepCell();
  tell();
  fillModels(view);
  fillPanel(view, state.cell);
  const pictures = [
    drawHeatmap(view, place("heatmap"), state.cell),
    ...drawStrips(view, state.cell),
    ...showProfile(),
    ...showMatchSection(),
  ];
  pairsTable = showPairs(view, place("pairs-table"));
  for (const link of document.querySelectorAll("nav a"))
    link.hidden = document.querySelector(link.getAttribute("href")).hidden;
  await Promise.all(pictures);
  listenToPoints();
};

/** Show a pair of layers; keep it if it was clicked. */
const look = cell => {
  fillPanel(view, cell);
  drawStrips(view, cell);
};

const choose = (cell, scroll = false) => {
  state.cell = cell;
  if (hovered) hovered.cell = undefined; // what was hovered over before counts no more
  look(cell);
  Plotly.relayout(place("heatmap"), { shapes: marked(view, cell) });
  if (pairsTable.filter.endsWith(OF_CHOSEN)) pairsTable.change({});
  if (scroll) place("now").scrollIntoView({ block: "start" });
};

const choosePair = (a, b) => {
  Object.assign(state, { scope: "pair", a, b, cell: null });
  refresh();
};

// ---- the mouse ----

/** The cell under the mouse, null outside: plotly's own events lag behind a quick hand. */
const pointed = event => {
  const target = place("heatmap"),
    box = target.getBoundingClientRect(),
    { xaxis, yaxis } = target._fullLayout;
  const along = (axis, pixels) => (pixels < 0 || pixels > axis._length ? -1 : Math.round(axis.p2l(pixels)));
  const column = view.columns[along(xaxis, event.clientX - box.left - xaxis._offset)],
    row = view.rows[along(yaxis, event.clientY - box.top - yaxis._offset)];
  return row === undefined || column === undefined ? null : [row, column];
};

/** Hovering draws at most once a frame. */
const hover = cell => {
  const waiting = hovered !== null;
  hovered = { cell };
  if (waiting) return;
  requestAnimationFrame(() => {
    if (hovered.cell !== undefined) look(hovered.cell);
    hovered = null;
  });
};

/** Whether the mouse has moved: what moves under a resting mouse, as by the keyboard, is not hovered over. */
const seen = { x: null, y: null };
const hasMoved = ({ clientX: x, clientY: y }) => {
  const moved = x !== seen.x || y !== seen.y;
  Object.assign(seen, { x, y });
  return moved;
};

const listenToPictures = () => {
  const heatmap = place("heatmap");
  let pressed = null;
  heatmap.addEventListener("mousemove", event => hasMoved(event) && hover(pointed(event) || state.cell));
  heatmap.addEventListener("mouseleave", () => hover(state.cell));
  heatmap.addEventListener("pointerdown", event => (pressed = event.button === 0 ? event : null));
  window.addEventListener("pointercancel", () => (pressed = null)); // a finger that scrolls
  window.addEventListener("pointerup", event => {
    const isClick =
      pressed !== null && Math.hypot(event.clientX - pressed.clientX, event.clientY - pressed.clientY) < 5;
    const cell = isClick ? pointed(event) : null;
    pressed = null;
    if (cell) choose(cell);
  });
};

/** Pictures whose points can be clicked: which pair of layers a point stands for. */
const CELL_OF_POINT = {
  row: point => [state.cell[0], view.columns[point.pointIndex]],
  column: point => [view.rows[point.pointIndex], state.cell[1]],
  "profile-picture": point => profileCells()[point.pointIndex],
  "matches-picture": point => {
    const side = point.x === 0 ? "rows" : "columns",
      match = bestOf(view, side, view[side][point.pointIndex]);
    return match && [match.row, match.column];
  },
};
const heard = new Set();

const listenToPoints = () => {
  for (const [id, cellOf] of Object.entries(CELL_OF_POINT)) {
    if (heard.has(id) || !place(id).on) continue;
    heard.add(id);
    place(id).on("plotly_click", event => {
      const cell = cellOf(event.points[0]);
      if (cell) choose(cell);
    });
  }
};

// ---- the keyboard ----

const STEPS = {
  ArrowUp: [1, 0],
  ArrowDown: [-1, 0],
  ArrowRight: [0, 1],
  ArrowLeft: [0, -1],
  PageUp: [10, 0],
  PageDown: [-10, 0],
};
const within = (place, length) => Math.min(length - 1, Math.max(0, place));

const onKey = event => {
  if (event.ctrlKey || event.altKey || event.metaKey || state.cell === null) return;
  let row = view.rows.indexOf(state.cell[0]),
    column = view.columns.indexOf(state.cell[1]);
  if (event.key in STEPS) [row, column] = [row + STEPS[event.key][0], column + STEPS[event.key][1]];
  else if (event.key === "Home") column = 0;
  else if (event.key === "End") column = view.columns.length - 1;
  else return;
  event.preventDefault();
  choose([view.rows[within(row, view.rows.length)], view.columns[within(column, view.columns.length)]]);
};

// ---- files ----

const savePicture = async button => {
  const target = place(button.dataset.picture),
    { format } = button.dataset;
  const what = { heatmap: "heatmap", "profile-picture": "same-name", "matches-picture": "best-matches" }[
    button.dataset.picture
  ];
  const address = await Plotly.toImage(target, {
    format,
    scale: format === "png" ? 2 : 1,
    width: target.layout.width,
    height: target.layout.height,
  });
  download(fileOf(view, what) + "." + format, address);
};

// ---- choices, size ----

const listen = () => {
  const onChange = (id, change) =>
    place(id).addEventListener("change", () => {
      change(place(id).value);
      refresh();
    });
  onChange("measure", value => (state.measure = Number(value)));
  onChange("scope", value => Object.assign(state, { scope: value, cell: null }));
  onChange("model-a", value => Object.assign(state, { a: Number(value), cell: null }));
  onChange("model-b", value => Object.assign(state, { b: Number(value), cell: null }));
  onChange("quantity", value => (state.quantity = value));
  onChange("range", value => (state.range = value));
  place("heatmap").addEventListener("keydown", onKey);
  for (const button of document.querySelectorAll("[data-picture]"))
    button.addEventListener("click", () => savePicture(button));
  listenToPage(refresh);
};

/** Draw anew when the page has become wider or narrower. */
const watchWidth = () => {
  let width = document.body.clientWidth;
  new ResizeObserver(() => {
    if (document.body.clientWidth === width || onPaper.now) return;
    width = document.body.clientWidth;
    refresh();
  }).observe(document.body);
};

const start = async () => {
  listen();
  await (matchMedia("print").matches ? forPrint(true, refresh) : refresh());
  listenToPictures();
  watchWidth();
  performance.mark("drawn");
  document.body.dataset.drawn = "yes";
};

start();
