// An answer as pictures: what matches large and first, the rest folded below.
"use strict";

import { $, count, el, named, photos } from "./make.js";

/** open: called with a place's number and whether its lines are wanted; search: with an id; more: with a number of places. */
export function showAnswer(look, { open, search, more }) {
  const { results, accepted, bits } = look.answer;
  const near = (result, i) => result.accepted || ["maybe", "ranked"].includes(look.places[i].verdict);
  const cards = results.map((result, i) => [near(result, i), card(look, i, near(result, i), open, search)]);
  const first = cards.filter(([isNear]) => isNear).map(([, item]) => item), rest = cards.filter(([isNear]) => !isNear).map(([, item]) => item);
  $("matches").replaceChildren(...first);
  $("rest").replaceChildren(...rest);
  $("similar").hidden = !rest.length;
  $("similar").open = !first.length; // with nothing better to show, the nearest are what there is
  $("similar-name").textContent = first.length ? `Less similar: ${photos(rest.length)}` : `The most similar, none a match: ${photos(rest.length)}`;
  const shown = results.filter((result) => result.accepted).length;
  $("all").hidden = accepted <= shown || bits !== null; // codes do not say what matches
  $("all").textContent = `Show all ${count(accepted)} matches`;
  $("all").onclick = () => more(Math.min(1000, accepted));
}

/** A result in the grid: its picture opens it large. */
function card(look, i, near, open, search) {
  const result = look.answer.results[i], shown = look.places[i];
  const word = { match: "✓ Match", maybe: "? Maybe", ranked: `${result.hamming} of ${look.answer.bits} bits differ${result.hamming === 1 ? "s" : ""}` }[shown.verdict];
  const badge = word ? [el("span", { class: "badge" }, word)] : [];
  const picture = el("button", { class: "picture", type: "button", onclick: () => open(i), "aria-label": `Open ${shown.label} large` }, image(shown, near ? "photos" : "thumbnails"));
  const told = [el("h3", {}, named(shown.label))];
  if (near) {
    const points = `${count(result.inliers)} of ${count(result.matches)} points agree`;
    told.push(el("p", { class: "why" }, ...badge, result.matches ? points : shown.why));
    const lines = result.affine && shown.there ? [el("button", { type: "button", onclick: () => open(i, true), "aria-label": `Match lines of ${shown.label}` }, "Match lines")] : [];
    told.push(el("p", { class: "acts" }, ...lines, el("button", { type: "button", class: "again", onclick: () => search(shown.id), "aria-label": `Search with it: ${shown.label}` }, "Search with it")));
  }
  const item = el("li", { class: `place ${result.accepted ? "accepted" : near ? "maybe" : "filled"}`, "data-place": i }, picture, ...told);
  item.style.setProperty("--ratio", shown.width / shown.height);
  return item;
}

/** A photo's picture in a space of its own size, or the word that it is gone. */
export function image(shown, kind, alt = "") {
  const gone = () => el("span", { class: "gone" }, "Not where it was indexed");
  if (!shown.there) return gone();
  const made = el("img", { src: `${kind}/${shown.id}`, alt, loading: "lazy", decoding: "async", width: shown.width, height: shown.height });
  made.addEventListener("error", () => made.replaceWith(gone()));
  return made;
}
