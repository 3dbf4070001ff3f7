"use strict";
// What every page has: colours, links within it, paper.

/** Whether the page is being printed: tables then show more rows, and pictures are as wide as paper. */
const onPaper = { now: false };
const folded = [];

const forPrint = (begins, refresh) => {
  if (begins === onPaper.now) return null;
  onPaper.now = begins;
  document.documentElement.toggleAttribute("data-printing", begins);
  if (begins) folded.push(...document.querySelectorAll("details:not([open])"));
  for (const each of begins ? folded : folded.splice(0)) each.open = begins;
  return refresh();
};

/** Draw anew what depends on colours and paper; links stay within the page. */
const listenToPage = refresh => {
  place("theme").addEventListener("change", ({ target: { value } }) => {
    if (value) document.documentElement.dataset.theme = value;
    else delete document.documentElement.dataset.theme;
    refresh();
  });
  // A frame of a notebook has the address of the notebook, which a link to a part of this page would open.
  for (const link of document.querySelectorAll('a[href^="#"]')) {
    link.addEventListener("click", event => {
      event.preventDefault();
      document.querySelector(link.getAttribute("href")).scrollIntoView();
    });
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);
  matchMedia("print").addEventListener("change", event => forPrint(event.matches, refresh));
  // Browsers count the pages between this event and the change above.
  window.addEventListener("beforeprint", () => forPrint(true, refresh));
  window.addEventListener("afterprint", () => forPrint(false, refresh));
};
