"use strict";
// Sections of a heading, a picture and a table.

const SHARPNESS = 2; // pixels of a saved picture for one of the screen

/** A number of a table: steps of training, and what else is whole, with all its digits. */
const whole = value => (Number.isInteger(value) ? String(value).replace("-", "−") : shown(value));

/** Tables of sections, each made of what stands beside it as data. */
const sectionTables = [...document.querySelectorAll("[data-table]")].map(target => {
  const { columns, rows } = JSON.parse(target.querySelector("script").textContent);
  const table = new Table(target, {
    caption: target.dataset.caption,
    columns: columns.map(({ title, kind }, k) => ({
      title,
      kind,
      get: row => row[k],
      show: row => (kind === "number" ? whole(row[k]) : String(row[k] ?? "")),
    })),
    file: cleanFileName(document.querySelector("h1").textContent, target.dataset.caption),
    words: ["row", "rows"],
  });
  table.show(rows);
  return table;
});

const saveImage = async (image, format) => {
  const name = cleanFileName(document.querySelector("h1").textContent, image.dataset.heading) + "." + format;
  if (format === "svg") return download(name, image.src);
  const canvas = document.createElement("canvas");
  canvas.width = SHARPNESS * image.naturalWidth;
  canvas.height = SHARPNESS * image.naturalHeight;
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return download(name, canvas.toDataURL("image/png"));
};

for (const button of document.querySelectorAll("[data-image]"))
  button.addEventListener("click", () => saveImage(place(button.dataset.image), button.dataset.format));

/** A page of sections alone has nothing else to draw. */
const startSections = () => {
  const refresh = () => sectionTables.forEach(table => table.fill());
  listenToPage(refresh);
  if (matchMedia("print").matches) forPrint(true, refresh);
  document.body.dataset.drawn = "yes";
};

if (document.body.dataset.page === "sections") startSections();
