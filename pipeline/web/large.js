// One place of the answer, large: with its match lines on demand, its path, and what the two looks say of it.
"use strict";

import { image } from "./answer.js";
import { narrow, pair } from "./lines.js";
import { $, copy, count, el, few, named } from "./make.js";

let at = 0, lines = false, given = null; // the place, whether its lines are drawn, and {look, source, search}

export function openLarge(look, place, wantsLines, source, search) {
  [given, at, lines] = [{ look, source, search }, place, wantsLines];
  draw();
  $("large").showModal();
  $("large-close").focus();
}

function draw() {
  const { look, source } = given, { results } = look.answer;
  const result = results[at], shown = look.places[at], mapped = result.affine !== null && shown.there;
  $("large-name").replaceChildren(named(shown.label));
  $("large-place").textContent = `${at + 1} of ${results.length}`;
  $("large-stage").replaceChildren(lines && mapped ? pair(look, result, shown, source) : image(shown, "photos", shown.label));
  $("large-lines").hidden = !mapped;
  $("large-lines").setAttribute("aria-pressed", String(lines));
  $("large-file").hidden = !shown.file || !shown.there;
  $("large-file").href = `files/${shown.id}`;
  $("large-path").textContent = shown.file ?? shown.label;
  $("large-why").textContent = shown.why;
  $("large-facts").replaceChildren(...Object.entries(facts(result, look.answer)).map(([fact, value]) => el("div", {}, el("dt", {}, fact), el("dd", {}, value))));
  $("large-before").disabled = at === 0;
  $("large-after").disabled = at === results.length - 1;
}

function facts(result, { bits }) {
  const found = { "place by the first look": count(result.coarse_rank), "place now": count(result.rank) };
  if (bits === null) Object.assign(found, { distance: result.distance.toFixed(3), matches: count(result.matches), inliers: count(result.inliers) });
  else found["bits that differ"] = `${result.hamming} of ${bits}`;
  if (result.code_distance !== null) found["distance of the numbers"] = result.code_distance.toFixed(3);
  if (result.false_alarms !== null) found["false alarms expected"] = few(result.false_alarms);
  return found;
}

function step(by) {
  const next = at + by;
  if (next < 0 || next >= given.look.answer.results.length) return;
  at = next;
  draw();
  for (const [button, other] of [["large-before", "large-after"], ["large-after", "large-before"]]) {
    if ($(button).disabled && document.activeElement === document.body) $(other).focus(); // a button that is switched off loses the focus
  }
}

/** Wire the dialog, once. */
export function prepareLarge() {
  const dialog = $("large");
  $("large-close").addEventListener("click", () => dialog.close());
  $("large-before").addEventListener("click", () => step(-1));
  $("large-after").addEventListener("click", () => step(1));
  $("large-lines").addEventListener("click", () => { lines = !lines; draw(); });
  $("large-copy").addEventListener("click", () => copy($("large-path").textContent, "Path"));
  $("large-again").addEventListener("click", () => { dialog.close(); given.search(given.look.places[at].id); });
  dialog.addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (by && !event.altKey && !event.ctrlKey && !event.metaKey) { event.preventDefault(); step(by); }
  });
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // on the backdrop
  dialog.addEventListener("close", () => {
    const item = document.querySelector(`[data-place="${at}"]`);
    if (item?.closest("details")) item.closest("details").open = true;
    item?.querySelector(".picture").focus(); // where one has got to
  });
  narrow.addEventListener("change", () => dialog.open && draw());
}
