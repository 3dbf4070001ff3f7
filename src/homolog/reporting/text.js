"use strict";
// Text: numbers as they are read, names as data, files.

const LARGEST = 1e307; // what is larger stands for infinity

const isInfinite = value => Math.abs(value) > LARGEST;

/** A value as it is read: at most five digits. */
const shown = value => {
  if (value === null || value === undefined) return "no value";
  if (isInfinite(value)) return value > 0 ? "∞" : "−∞";
  return String(Number(value.toPrecision(5))).replace("-", "−");
};

/** Digits after the point that tell values of this size apart. */
const placesFor = largest => (largest > 0 ? 3 - Math.floor(Math.log10(largest) + 1e-9) : 3);

/** A value for a table or a cell: always as many places, so that columns can be compared. */
const fixed = (value, places) => {
  if (value === null || value === undefined) return "";
  if (isInfinite(value)) return shown(value);
  const text = places < 0 || places > 6 ? value.toPrecision(3) : value.toFixed(places);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
};

/** A probability: two digits; how small one below 0.0001 is says nothing more. */
const probability = value => {
  if (value === null || value === undefined) return "";
  return value < 0.0001 ? "< 0.0001" : String(Number(value.toPrecision(2)));
};

// Plotly reads a little markup in labels; names are data, so what could be markup becomes entities.
const plain = text => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/>/g, "&gt;");

/** An element with attributes and children; text stays text. */
const element = (tag, attributes = {}, ...children) => {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter(child => child !== null && child !== undefined));
  return made;
};

/** A name that breaks where its parts meet, if it must. */
const breakable = text =>
  text
    .replace(/^…/, "…\u2060")
    .split(/(?<=[._/:\-])/)
    .flatMap(part => [part, element("wbr")]);

const place = id => document.getElementById(id);

/** The name of a file that every system takes. */
const cleanFileName = (...parts) => {
  const words = parts
    .join(" ")
    .normalize("NFKD")
    .replace(/[^A-Za-z0-9]+/g, "-")
    .replace(/^-+|-+$/g, "");
  return words.slice(0, 80).replace(/-+$/, "") || "homolog";
};

const download = (name, address) => element("a", { download: name, href: address }).click();

/** One cell of a CSV file. Text that a spreadsheet would take for a formula begins with an apostrophe. */
const csvCell = value => {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return isInfinite(value) ? (value > 0 ? "inf" : "-inf") : String(value);
  const text = /^[=+\-@\t\r\n]/.test(value) ? "'" + value : value;
  return /[",\r\n]/.test(text) ? '"' + text.replace(/"/g, '""') + '"' : text;
};

const csvText = (titles, rows) => [titles, ...rows].map(row => row.map(csvCell).join(",")).join("\r\n") + "\r\n";

/** Offer a table as a file. The mark at its start lets spreadsheets read letters beyond ASCII. */
const downloadCsv = (name, titles, rows) => {
  const address = URL.createObjectURL(new Blob(["\ufeff", csvText(titles, rows)], { type: "text/csv" }));
  download(name + ".csv", address);
  setTimeout(() => URL.revokeObjectURL(address), 1000);
};
