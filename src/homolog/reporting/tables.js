"use strict";
// Tables that sort, filter and search, a page at a time.

const A_PAGE = 25;
const BRIEF = 18; // letters of a name that is never broken
const OF_CHOSEN = " of the chosen cell";
const PRINTED = 150; // rows on paper, which has no pages to turn

/** The name of a layer in a table: short on the screen, whole for those who hover, listen or print. */
const nameCell = (name, label) =>
  name === label
    ? element("span", { class: "name" }, ...(name.length > BRIEF ? breakable(name) : [name]))
    : element(
        "span",
        { class: "name", title: name },
        element("span", { class: "short", "aria-hidden": "true" }, ...breakable(label)),
        element("span", { class: "whole" }, ...breakable(name)),
      );

const comparable = value => (value === null || value === undefined || value === "" ? null : value);

/** Rows in the order of a column; what has no value comes last either way. */
const sortedBy = (rows, column, down) => {
  const keyed = rows.map(row => [comparable(column.get(row)), row]);
  const order = (a, b) => {
    if (a === null || b === null) return (a === null) - (b === null);
    const before = typeof a === "string" ? a.localeCompare(b, undefined, { numeric: true }) : a - b;
    return down ? -before : before;
  };
  return keyed.sort(([a], [b]) => order(a, b)).map(([, row]) => row);
};

/** What was sought, asked for and sorted in each place, which a table made anew takes over. */
const remembered = new Map();

/** One table with its tools. `columns` say what stands in them, `filters` which rows may be asked for, `pick` what a row opens. */
class Table {
  constructor(target, { caption, columns, filters = [], file, pick = null, marked = () => "", words }) {
    Object.assign(this, { target, caption, columns, filters, file, pick, marked, words });
    Object.assign(
      this,
      { rows: [], page: 0, sort: "", down: false, sought: "", filter: "" },
      remembered.get(target.id),
    );
    this.build();
  }

  build() {
    this.search = element("input", {
      type: "search",
      "aria-label": "Search in: " + this.caption,
      placeholder: "Search",
      value: this.sought,
    });
    this.search.addEventListener("input", () => this.change({ sought: this.search.value.toLowerCase() }));
    this.choice = element("select", { "aria-label": "Which rows of: " + this.caption });
    const filters = this.filters.map(({ name }) =>
      element("option", { value: name, selected: name === this.filter }, name),
    );
    this.choice.append(element("option", { value: "" }, "all rows"), ...filters);
    this.choice.addEventListener("change", () => this.change({ filter: this.choice.value }));
    const csv = element("button", { type: "button" }, "CSV");
    csv.addEventListener("click", () => this.save());
    this.count = element("span", { class: "count", role: "status" });
    this.back = this.turner("‹", "Previous rows", -1);
    this.on = this.turner("›", "Next rows", 1);
    const tools = element(
      "div",
      { class: "tools" },
      this.search,
      this.filters.length ? this.choice : null,
      csv,
      element("span", { class: "turn" }, this.count, this.back, this.on),
    );
    this.head = element("thead");
    this.body = element("tbody");
    const table = element("table", { class: "data" }, element("caption", {}, this.caption), this.head, this.body);
    this.target.replaceChildren(tools, element("div", { class: "scroll" }, table));
  }

  turner(sign, label, step) {
    const button = element("button", { type: "button", "aria-label": label }, sign);
    button.addEventListener("click", () => {
      this.page += step;
      this.fill();
    });
    return button;
  }

  change(what) {
    Object.assign(this, what, { page: 0 });
    remembered.set(this.target.id, { sort: this.sort, down: this.down, sought: this.sought, filter: this.filter });
    this.fill();
  }

  show(rows) {
    this.rows = rows;
    this.change({});
  }

  sortBy(column) {
    // Numbers are asked for from the largest, names from the first.
    const first = column.kind === "number";
    const down = this.sort === column.title ? !this.down : first;
    this.change({ sort: column.title, down });
  }

  chosen() {
    const filter = this.filters.find(({ name }) => name === this.filter),
      sort = this.columns.find(({ title }) => title === this.sort);
    const texts = this.columns.filter(column => column.kind !== "number");
    const fits = row =>
      texts.some(column =>
        String(column.get(row) ?? "")
          .toLowerCase()
          .includes(this.sought),
      );
    const rows = this.rows.filter(row => (!filter || filter.keep(row)) && (!this.sought || fits(row)));
    return sort ? sortedBy(rows, sort, this.down) : rows;
  }

  heading(column) {
    const order = this.sort === column.title ? (this.down ? "descending" : "ascending") : "none";
    const sign = { descending: " ↓", ascending: " ↑", none: "" }[order];
    const button = element("button", { type: "button" }, column.title + sign);
    button.addEventListener("click", () => {
      const place = this.columns.indexOf(column);
      this.sortBy(column);
      this.head.querySelectorAll("button")[place].focus();
    });
    return element("th", { scope: "col", class: column.kind, "aria-sort": order }, button);
  }

  line(row) {
    const cells = this.columns.map((column, place) => {
      const content = column.show ? column.show(row) : String(column.get(row) ?? "");
      const opens = place === 0 && this.pick && this.pick(row);
      return element(
        "td",
        { class: column.kind },
        opens ? element("button", { type: "button", class: "go" }, content) : content,
      );
    });
    const line = element("tr", { class: this.marked(row) }, ...cells);
    line.addEventListener("click", () => this.pick && this.pick(row)?.());
    return line;
  }

  fill() {
    const rows = this.chosen(),
      first = this.page * A_PAGE,
      page = onPaper.now ? rows.slice(0, PRINTED) : rows.slice(first, first + A_PAGE);
    this.head.replaceChildren(element("tr", {}, ...this.columns.map(column => this.heading(column))));
    this.body.replaceChildren(...page.map(row => this.line(row)));
    const start = onPaper.now ? 0 : first,
      whole = rows.length === page.length;
    this.count.textContent =
      (whole ? "" : start + 1 + " to " + (start + page.length) + " of ") +
      rows.length.toLocaleString("en") +
      " " +
      (rows.length === 1 ? this.words[0] : this.words[1]);
    this.back.hidden = this.on.hidden = whole;
    this.back.disabled = this.page === 0;
    this.on.disabled = first + A_PAGE >= rows.length;
  }

  save() {
    const rows = this.chosen().map(row => this.columns.map(column => (column.csv ? column.csv(row) : column.get(row))));
    downloadCsv(
      this.file,
      this.columns.map(column => column.title),
      rows,
    );
  }
}

// ---- which tables there are ----

const number = (title, get, write) => ({ title, kind: "number", get, show: row => write(get(row)) });

const layerColumn = (view, title, side, get) => ({
  title,
  kind: "name",
  get: row => (get(row) === null ? null : nameOf(view, side, get(row))),
  show: row => (get(row) === null ? "" : nameCell(nameOf(view, side, get(row)), labelOf(view, side, get(row)))),
});

/** Columns for the companions that a measure has. */
const companionColumns = (view, cell) => {
  const kinds = [
    ["null", "null level", v => fixed(v, view.places)],
    ["calibrated", "calibrated", v => fixed(v, 4)],
    ["p", "p", probability],
    ["p_fdr", "adjusted p", probability],
    ["low", "low", v => fixed(v, view.places)],
    ["high", "high", v => fixed(v, view.places)],
    ["se", "standard error", v => fixed(v, view.places)],
    ["se_sketch", "error of sketches", v => fixed(v, view.places)],
    ["reversed", "exchanged", v => fixed(v, view.places)],
  ];
  return kinds
    .filter(([kind]) => kind in view.measure.companions)
    .map(([kind, title, write]) => number(title, row => (cell(row) ? at(view, kind, ...cell(row)) : null), write));
};

const textColumn = (view, title, side, kind, get) => ({
  title,
  kind: "text",
  get: row => view.table[side][kind][get(row)],
});

const pairColumns = view => {
  const found = [
    layerColumn(view, "layer a", "rows", row => row[0]),
    layerColumn(view, "layer b", "columns", row => row[1]),
    number(
      "value",
      row => at(view, "values", ...row),
      v => (v === null ? "no value" : fixed(v, view.places + 1)),
    ),
    ...companionColumns(view, row => row),
  ];
  for (const [kind, title] of [
    ["types", "type"],
    ["shapes", "shape"],
  ]) {
    if (view.table.rows[kind]) found.push(textColumn(view, title + " a", "rows", kind, row => row[0]));
    if (view.table.columns[kind]) found.push(textColumn(view, title + " b", "columns", kind, row => row[1]));
  }
  if (view.measure.tested && view.measure.chance !== null)
    found.push({ title: "chance", kind: "text", get: row => (byChance(view, ...row) ? "no better" : "") });
  return found;
};

const pairFilters = view => {
  const filters = [{ name: "with a value", keep: row => at(view, "values", ...row) !== null }];
  if (namesakes(view).length)
    filters.push({ name: "same name", keep: ([i, j]) => view.table.rows.names[i] === view.table.columns.names[j] });
  if (view.pair) {
    filters.push({
      name: "best matches",
      keep: ([i, j]) =>
        [bestOf(view, "rows", i), bestOf(view, "columns", j)].some(
          match => match && match.supported && match.row === i && match.column === j,
        ),
    });
  }
  if (view.measure.tested) {
    filters.push(
      { name: "better than chance", keep: row => at(view, "values", ...row) !== null && !byChance(view, ...row) },
      { name: "no better than chance", keep: row => byChance(view, ...row) },
    );
  }
  filters.push(
    { name: "row" + OF_CHOSEN, keep: ([i]) => state.cell !== null && i === state.cell[0] },
    { name: "column" + OF_CHOSEN, keep: ([, j]) => state.cell !== null && j === state.cell[1] },
  );
  return filters;
};

const fileOf = (view, what) => cleanFileName(...view.titles, view.measure.name, what);

const showPairs = (view, target) => {
  const table = new Table(target, {
    caption: view.measure.name + ": " + view.titles.join(" and "),
    columns: pairColumns(view),
    filters: pairFilters(view),
    file: fileOf(view, "pairs"),
    pick: row => () => choose(row, true),
    marked: row => (byChance(view, ...row) ? "by-chance" : ""),
    words: ["pair", "pairs"],
  });
  table.show(allPairs(view));
  return table;
};

/** Best matches of one side: one row per layer. */
const showMatches = (view, target, side) => {
  const other = side === "rows" ? "columns" : "rows",
    match = i => bestOf(view, side, i);
  const cell = i => (match(i) ? [match(i).row, match(i).column] : null);
  const status = i =>
    match(i) === null
      ? "no value"
      : !match(i).supported
        ? "no better than chance"
        : isMutual(view, match(i))
          ? "yes"
          : "";
  const best = layerColumn(view, "best match in " + view.titles[side === "rows" ? 1 : 0], other, i =>
    match(i) && match(i).supported ? match(i).to : null,
  );
  const nearest = i => (match(i) && !match(i).supported ? "none better than chance" : null);
  const columns = [
    layerColumn(view, "layer of " + view.titles[side === "rows" ? 0 : 1], side, i => i),
    { ...best, show: i => nearest(i) ?? best.show(i) },
    number(
      "value",
      i => (cell(i) ? at(view, "values", ...cell(i)) : null),
      v => fixed(v, view.places),
    ),
    ...companionColumns(view, cell).filter(
      column => column.title === ("p_fdr" in view.measure.companions ? "adjusted p" : "null level"),
    ),
    {
      title: "mutual",
      kind: "text",
      get: status,
      show: i => (status(i) === "no better than chance" ? "by chance" : status(i)),
    },
  ];
  const filters = [{ name: "mutual", keep: i => status(i) === "yes" }];
  if (view.measure.tested)
    filters.push({ name: "better than chance", keep: i => match(i) !== null && match(i).supported });
  const table = new Table(target, {
    caption: "Layers of " + view.titles[side === "rows" ? 0 : 1],
    columns,
    filters,
    file: fileOf(view, "best-matches-of-" + view.titles[side === "rows" ? 0 : 1]),
    pick: i => cell(i) && (() => choose(cell(i), true)),
    marked: i => (match(i) && !match(i).supported ? "by-chance" : ""),
    words: ["layer", "layers"],
  });
  table.show(view[side]);
  return table;
};

const showProfileTable = (view, target, cells) => {
  const table = new Table(target, {
    caption: "Layers of the same name",
    columns: [layerColumn(view, "layer", "rows", row => row[0]), ...pairColumns(view).slice(2)],
    file: fileOf(view, "same-name"),
    pick: row => () => choose(row, true),
    marked: row => (byChance(view, ...row) ? "by-chance" : ""),
    words: ["layer", "layers"],
  });
  table.show(cells);
  return table;
};
