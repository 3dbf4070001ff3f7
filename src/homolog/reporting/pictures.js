"use strict";
// What all pictures share. Plotly draws them.

const MAGMA = [
  [0, "#000004"],
  [0.125, "#1c1044"],
  [0.25, "#4f127b"],
  [0.375, "#812581"],
  [0.5, "#b5367a"],
  [0.625, "#e55964"],
  [0.75, "#fb8761"],
  [0.875, "#fec287"],
  [1, "#fcfdbf"],
];
const GREYS = [
  [0, "#66646f"],
  [1, "#f4f3f7"],
];
const NUMBERED = 12; // layers a side up to which cells hold their numbers
const CONFIGURATION = { displayModeBar: false, responsive: false, doubleClick: "reset" };
const FONT = "system-ui, sans-serif";

const colour = name =>
  getComputedStyle(document.documentElement)
    .getPropertyValue("--" + name)
    .trim();

const ruler = document.createElement("canvas").getContext("2d");
const widthOf = (text, size) => {
  ruler.font = size + "px " + FONT;
  return ruler.measureText(text).width;
};
const widest = (texts, size) => texts.reduce((most, text) => Math.max(most, widthOf(text, size)), 0);

const roomOf = target => (onPaper.now ? Math.min(660, target.clientWidth || 660) : target.clientWidth);
const isNarrow = room => room < 560;

/** What all pictures share. */
const commonLayout = more => ({
  paper_bgcolor: colour("page"),
  plot_bgcolor: colour("page"),
  showlegend: false,
  dragmode: false,
  autosize: false,
  font: { family: FONT, size: 12, color: colour("ink") },
  hoverlabel: {
    align: "left",
    bgcolor: colour("surface"),
    bordercolor: colour("line"),
    font: { family: FONT, color: colour("ink"), size: 12 },
  },
  ...more,
});

const draw = (target, traces, layout) => Plotly.react(target, traces, layout, CONFIGURATION);

/** Places of tick labels that have room: each so many pixels. */
const ticks = (labels, step) => {
  const every = Math.max(1, Math.ceil(step));
  const places = labels.map((_, i) => i).filter(i => i % every === 0);
  return {
    tickmode: "array",
    tickvals: places,
    ticktext: places.map(i => plain(labels[i])),
    ticks: "outside",
    ticklen: 3,
    tickcolor: colour("line"),
  };
};

const bareAxis = () => ({
  showgrid: false,
  zeroline: false,
  automargin: false,
  linecolor: colour("line"),
  showline: true,
  mirror: true,
});
