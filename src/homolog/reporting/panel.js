"use strict";
// The panel beside the heatmap: all that is known of one pair of layers; and the matrix of models.

/** A layer in full: what all names of its side begin with is faint. */
const wholeLayer = (view, side, i) => {
  const from = view.table[side],
    { prefix } = from;
  const name = element(
    "span",
    { class: "name" },
    element("span", { class: "prefix" }, ...breakable(prefix)),
    ...breakable(from.names[i].slice(prefix.length)),
  );
  const facts = [
    owner(from, i),
    from.types && from.types[i],
    from.shapes && from.shapes[i],
    from.features[i] + " feature" + (from.features[i] === 1 ? "" : "s"),
    from.ranks && from.ranks[i] >= 0 ? "rank " + from.ranks[i] : null,
  ];
  return element(
    "p",
    { class: "layer" },
    element("strong", {}, name),
    element("br"),
    element("span", { class: "faint name" }, facts.filter(Boolean).join(" · ")),
  );
};

const tagsOf = (view, i, j) => {
  if (isItself(view, i, j)) return [["a layer with itself", false]];
  if (byChance(view, i, j)) return [["no better than chance", false]];
  const forth = bestOf(view, "rows", i),
    back = bestOf(view, "columns", j);
  const isForth = forth !== null && forth.to === j,
    isBack = back !== null && back.to === i;
  if (isForth && isBack) return [["each other's best match", true]];
  return [
    isForth ? ["best match of the first", true] : null,
    isBack ? ["best match of the second", true] : null,
  ].filter(Boolean);
};

const factsOf = (view, i, j) => {
  const about = data.about[view.measure.name],
    get = kind => at(view, kind, i, j),
    found = [];
  const add = (kind, title, text) => get(kind) !== null && found.push([title, text(get(kind))]);
  add(
    "low",
    "interval",
    low => shown(low) + " to " + shown(get("high")) + (about.interval ? " (" + about.interval + ")" : ""),
  );
  add("se", "standard error", value => shown(value) + (state.scope === "mean" ? " over models" : ""));
  add("se_sketch", "error of sketches", value => shown(value) + ", since only sketches of layers are kept");
  add("null", "null level", value => shown(value) + ", what independent data give on average");
  add(
    "calibrated",
    "calibrated",
    value => shown(value) + ": 0 is what chance reaches (" + shown(get("threshold")) + "), 1 is equal",
  );
  add("p", "p-value", value => probability(value) + (about.p ? " (" + about.p + ")" : ""));
  add(
    "p_fdr",
    "adjusted p",
    value => probability(value) + " (false discovery rate, Benjamini-Hochberg over all pairs)",
  );
  add("p_fwer", "family-wise p", value => probability(value) + " (by the largest value of all pairs)");
  add("reversed", "exchanged", value => shown(value) + ", with the roles of the two exchanged");
  return found;
};

const fillPanel = (view, cell) => {
  const chosen = place("chosen");
  if (cell === null) {
    chosen.replaceChildren(element("p", { class: "faint" }, "No pair of layers has a value here."));
    return;
  }
  const [i, j] = cell,
    value = at(view, "values", i, j);
  const tags = tagsOf(view, i, j).map(([text, good]) => element("span", { class: good ? "tag good" : "tag" }, text));
  const facts = factsOf(view, i, j).flatMap(([title, text]) => [element("dt", {}, title), element("dd", {}, text)]);
  chosen.replaceChildren(
    wholeLayer(view, "rows", i),
    wholeLayer(view, "columns", j),
    element("p", { class: "figure-value" }, value === null ? "no value" : shown(value)),
    element("p", { class: "faint name" }, view.measure.name),
    element("p", {}, ...tags),
    element("dl", {}, ...facts),
  );
};

const drawStrips = (view, cell) => {
  const ids = ["row", "column", "row-title", "column-title"];
  for (const id of ids) place(id).hidden = cell === null;
  if (cell === null) return [];
  const [i, j] = cell;
  const titled = (id, side, layer, other) => {
    place(id).replaceChildren(
      element("span", { title: nameOf(view, side, layer) }, labelOf(view, side, layer)),
      " with all of " + other,
    );
  };
  titled("row-title", "rows", i, view.titles[1]);
  describe("row", "Line of values: " + nameOf(view, "rows", i) + " with every layer of " + view.titles[1]);
  describe("column", "Line of values: " + nameOf(view, "columns", j) + " with every layer of " + view.titles[0]);
  titled("column-title", "columns", j, view.titles[0]);
  return [drawStrip(view, place("row"), "columns", i, j), drawStrip(view, place("column"), "rows", j, i)];
};

// ---- models by models ----

/** A colour of the scale, between 0 and 1, and one for text upon it. */
const onScale = share => {
  const place = Math.min(0.9999, Math.max(0, share)) * (MAGMA.length - 1),
    k = Math.floor(place),
    part = place - k;
  const parts = [1, 3, 5].map(start =>
    [MAGMA[k][1], MAGMA[k + 1][1]].map(text => parseInt(text.slice(start, start + 2), 16)),
  );
  const mixed = parts.map(([from, to]) => Math.round(from + (to - from) * part));
  const light = (0.299 * mixed[0] + 0.587 * mixed[1] + 0.114 * mixed[2]) / 255;
  return [`rgb(${mixed})`, light > 0.5 ? "#000000" : "#ffffff"];
};

const modelLimits = measure => {
  if (state.range === "measure") return measure.limits;
  return extent(finiteOnly(measure.pairs.filter(pair => !pair.same).map(pair => pair.level)));
};

const modelButton = (measure, pair, names) => {
  const [low, high] = modelLimits(measure),
    share = pair.level === null ? null : (pair.level - low) / (high - low || 1);
  const [back, ink] = share === null ? ["var(--missing)", "var(--ink)"] : onScale(measure.distance ? 1 - share : share);
  const text = pair.same ? "itself" : pair.level === null ? "–" : fixed(pair.level, 2);
  const pressed = state.scope === "pair" && state.a === pair.a && state.b === pair.b;
  const button = element(
    "button",
    {
      type: "button",
      "aria-pressed": String(pressed),
      "aria-label": names.join(" and ") + ": " + text,
      title: names.join(" × "),
    },
    text,
  );
  if (pair.same) Object.assign(button.style, { background: "var(--surface)", color: "var(--faint)" });
  else Object.assign(button.style, { background: back, color: ink });
  button.addEventListener("click", () => {
    choosePair(pair.a, pair.b);
    document.querySelector('#models-table [aria-pressed="true"]').focus();
  });
  return button;
};

const fillModels = view => {
  place("all-models").hidden = !data.many;
  if (!data.many) return;
  const { rows, columns } = data.whole,
    measure = data.whole.measures[state.measure];
  const tall = columns.modelLabels.some(label => label.length > 8) ? "tall" : null;
  const head = element(
    "tr",
    {},
    element("td"),
    ...columns.modelLabels.map((label, b) =>
      element("th", { scope: "col", class: tall, title: columns.models[b] }, element("span", {}, label)),
    ),
  );
  const lines = rows.modelLabels.map((label, a) =>
    element(
      "tr",
      {},
      element("th", { scope: "row", title: rows.models[a] }, label),
      ...columns.models.map((_, b) => {
        const pair = measure.pairs.find(each => each.a === a && each.b === b);
        return element("td", {}, modelButton(measure, pair, [rows.models[a], columns.models[b]]));
      }),
    ),
  );
  place("models-table").replaceChildren(
    element("table", { class: "models" }, element("thead", {}, head), element("tbody", {}, ...lines)),
  );
  const kinds = new Set(measure.pairs.filter(pair => !pair.same && pair.level !== null).map(pair => pair.levelOf));
  const of =
    kinds.size > 1
      ? "of layers of the same name, or of best matches where two models share no name"
      : kinds.has("same name")
        ? "of layers of the same name"
        : "of the best matches of the rows";
  place("models-told").textContent =
    "Mean " + measure.name + " " + of + ". Click a pair of models to see its layers below.";
};
