// The page: one photo goes out, an answer comes back, and the address says which. What it shows comes from `POST /look` and `GET /look/ID`.
"use strict";

import { image, showAnswer } from "./answer.js";
import { openBox, prepareBox } from "./box.js";
import { keep, recall } from "./kept.js";
import { openLarge, prepareLarge } from "./large.js";
import { $, copy, count, el, photos, spent, tell } from "./make.js";

const TITLE = document.title;
const SHOWN_RUNS = 5, PATIENCE = 5; // lines of the table of costs; times to ask a busy server
const CALM = 4000, EAGER = 1000; // milliseconds between two looks at the gallery, and while it is being indexed
const LONG = 2000; // milliseconds of looking after which the page says how many
const CHOICES = { k: "k", candidates: "candidates", false_alarm: "rate" }; // what an address may choose: the control that does
let gallery = null, running = null, asked = null; // asked: {query, box, choice, look}; query: {id} or {key, file}
let runs = [], source = "", known = null; // known: the gallery as it was when the page last asked it

// ---- the gallery and its controls

async function begin() {
  const given = new URLSearchParams(location.hash.slice(1)), word = given.get("token");
  if (word) {
    given.delete("token"); // out of the address, and of what may be copied from it
    history.replaceState(null, "", location.pathname + (String(given) && `#${given}`));
    await unlock(word);
  }
  const answer = await fetch("gallery").catch(() => null);
  const locked = answer?.status === 401;
  $("unlock").hidden = !locked;
  for (const id of ["ask", "hello", "more"]) $(id).hidden = !answer?.ok;
  if (locked) {
    state("empty");
    return $("token").focus();
  }
  if (!answer?.ok) return failed("The server does not answer.");
  gallery = known = await answer.json();
  const usual = Math.min(gallery.photos, parseInt(gallery.candidates) * (gallery.candidates.endsWith("x") ? gallery.k : 1));
  const sizes = [10, 40, 100, 400, 1000, 4000].filter((size) => size < gallery.photos);
  fill($("candidates"), [...sizes, usual].filter(Boolean), usual, (n) => (n === gallery.photos ? `all ${count(n)}` : count(n)));
  fill($("k"), [10, 20, 50, 100, gallery.k], gallery.k, count);
  document.body.dataset.looks = gallery.bits === null ? "points" : "codes"; // what the second look compares: some words depend on it
  for (const part of document.querySelectorAll(".rated")) part.hidden = gallery.false_alarm === null;
  if (gallery.false_alarm !== null) fill($("rate"), [0.001, 0.01, 0.1, 1, 10, gallery.false_alarm], gallery.false_alarm, (rate) => `at most ${rate}`);
  stands();
  clearTimeout(watch.next);
  watch.next = setTimeout(watch, gallery.indexing ? EAGER : CALM);
  route();
}

function fill(select, values, usual, word) {
  const sorted = [...new Set(values)].sort((a, b) => a - b);
  select.replaceChildren(...sorted.map((value) => el("option", { value }, word(value))));
  select.value = select.dataset.usual = usual;
}

async function unlock(word) {
  await fetch("session", { method: "POST", headers: { authorization: `Bearer ${word}` } }).catch(() => null);
}

/** How the gallery stands, as the page says it. */
function stands() {
  $("about").textContent = photos(gallery.photos);
  $("made").textContent = `Recipe ${gallery.recipe}, model ${gallery.model}`;
  const run = gallery.indexing;
  $("indexing").hidden = !run;
  if (run) {
    $("indexed").max = Math.max(1, run.todo);
    $("indexed").value = run.done;
    $("indexed-count").textContent = `${count(run.done)} of ${count(run.todo)} photos`;
  }
  const missing = asked?.look?.missing || gallery.missing;
  $("missing").hidden = !missing;
  $("missing").replaceChildren(...missing.split(/(two-look index .*)/).filter(Boolean).map((part, i) => (i ? el("code", {}, part) : part)));
  $("news").hidden = !run && !missing && !$("grown").textContent;
  $("try").hidden = !gallery.samples.length;
  const offered = [...$("samples").children].map((item) => item.dataset.id).join();
  if (offered === gallery.samples.map((sample) => sample.id).join()) return;
  $("samples").replaceChildren(...gallery.samples.map((sample) => el("li", { "data-id": sample.id },
    el("button", { class: "picture", type: "button", onclick: () => search({ id: sample.id }), "aria-label": `Search with ${sample.label}` }, image({ ...sample, there: true }, "thumbnails")))));
}

/** Look again, as long as somebody looks at the page. */
async function watch() {
  const answer = document.hidden ? null : await fetch("gallery").catch(() => null);
  if (answer?.status === 401) return begin();
  if (answer?.ok) {
    const before = gallery;
    gallery = await answer.json();
    if (gallery.version !== before.version) grown();
    stands();
  }
  watch.next = setTimeout(watch, gallery.indexing ? EAGER : CALM);
}

/** Say what has come in since the page last asked. */
function grown() {
  const more = gallery.photos - known.photos;
  $("grown").replaceChildren(more > 0 ? `${photos(more)} came in: ${count(gallery.photos)} now. ` : `The gallery has changed: ${photos(gallery.photos)} now. `);
  if (asked?.look) $("grown").append(el("button", { type: "button", onclick: () => ask({ again: true }) }, "Search again"));
}

// ---- addresses: #photo=ID or #sent=KEY, with box, k, candidates and false_alarm where they are not as usual

function state(name) {
  document.body.dataset.state = name;
  $("choose").textContent = name === "empty" ? "Choose a photo" : "Another photo";
}

function address({ query, box, choice }) {
  const said = new URLSearchParams(query.id ? { photo: query.id } : { sent: query.key });
  if (box) said.set("box", box);
  for (const [name, value] of choice) said.set(name, value);
  return `#${said.toString().replaceAll("%2C", ",")}`;
}

/** What the address asks for. */
async function route() {
  const said = new URLSearchParams(location.hash.slice(1)), id = said.get("photo"), key = said.get("sent");
  running?.abort();
  asked = null;
  document.title = TITLE;
  for (const dialog of document.querySelectorAll("dialog[open]")) dialog.close();
  if (!id && !key) { state("empty"); return stands(); }
  const choice = new URLSearchParams();
  for (const [name, control] of Object.entries(CHOICES)) {
    const value = said.get(name);
    if (value !== null) choice.set(name, value);
    choose($(control), value);
  }
  const file = key ? await recall(key) : null;
  if (key && !file) return failed("This address belongs to a photo that was sent from another browser, or before many others. Choose the photo itself, and it is searched with again.");
  if (id && !/^[0-9a-f]{32}$/.test(id)) return failed("This address names no photo.");
  asked = { query: id ? { id } : { key, file }, box: said.get("box"), choice };
  await ask();
}

/** Let a control stand where the address says, also where it is no usual place. */
function choose(select, value) {
  if (value !== null && ![...select.options].some((option) => option.value === value)) select.append(el("option", { value }, value));
  select.value = value ?? select.dataset.usual;
}

/** What the controls choose, as far as it is not what the server does anyway. */
function choices() {
  const chosen = Object.entries(CHOICES).filter(([, control]) => $(control).value && $(control).value !== $(control).dataset.usual);
  return new URLSearchParams(chosen.map(([name, control]) => [name, $(control).value]));
}

/** Search with {id} or {file}: a new address, which Back leaves again. */
function search(query, box = null) {
  if (!gallery) return;
  const whole = query.file && !query.key ? { ...query, key: keep(query.file) } : query;
  asked = { query: whole, box, choice: choices() };
  history.pushState(null, "", address(asked));
  scrollTo(0, 0);
  return ask();
}

// ---- asking

/** Ask what `asked` says; a newer question ends an older one. again: of the same photo, whose answer stays until the next one. */
async function ask({ again = false } = {}) {
  running?.abort();
  known = gallery;
  $("grown").replaceChildren();
  const mine = (running = new AbortController()), now = asked;
  if (!again) { runs = []; now.look = null; showQuery(now); }
  stay(`Looking through ${photos(gallery.photos)}`, again ? "answer" : "looking");
  const began = Date.now(), ticking = setInterval(() => {
    const passed = Date.now() - began;
    if (passed >= LONG && running === mine) $("passed").textContent = `${Math.floor(passed / 1000)} s so far`;
  }, 1000);
  try {
    const body = await reply(now, mine.signal);
    if (body === null || now !== asked) return;
    show(now, body, again);
  } catch (error) {
    if (error.name === "AbortError") return;
    now.look = null;
    failed(error instanceof Unanswered ? error.message : "The server does not answer.", true);
  } finally {
    clearInterval(ticking);
    if (running === mine) running = null;
  }
}

class Unanswered extends Error {}

async function reply({ query, box, choice }, signal) {
  if (query.file?.size > gallery.max_bytes) throw new Unanswered(`The photo is larger than ${count(gallery.max_bytes)} bytes.`);
  if (query.file && !await query.file.slice(0, 1).arrayBuffer().catch(() => null)) throw new Unanswered("The file cannot be read: it may be a folder, or not be there any more.");
  const told = new URLSearchParams(choice);
  if (box) told.set("box", box);
  const sending = query.file ? { method: "POST", body: query.file } : {};
  for (let times = 1; ; times++) {
    const answer = await fetch(`look${query.file ? "" : `/${query.id}`}?${told}`, { ...sending, signal });
    if (answer.status === 503 && times < PATIENCE) {
      $("status").textContent = "The server is busy; waiting for a place";
      await new Promise((wake) => setTimeout(wake, 1000 * Number(answer.headers.get("retry-after") ?? 1)));
      if (signal.aborted) return null;
      continue;
    }
    const body = await answer.json();
    if (answer.status === 401) { begin(); return null; }
    if (answer.ok) return body;
    const why = { 400: "The photo cannot be read", 404: "The photo is not in this gallery any more", 422: "This cannot be asked" }[answer.status] ?? "The server did not answer";
    throw new Unanswered(`${why}: ${body.detail}.`);
  }
}

// ---- showing

/** The photo that is searched with, at once. */
function showQuery({ query, box }) {
  URL.revokeObjectURL(source);
  source = query.file ? URL.createObjectURL(query.file) : `photos/${query.id}`;
  $("sent-none").hidden = true;
  $("sent-box").hidden = !box;
  $("sent").hidden = false;
  $("sent").onerror = () => instead(query);
  $("sent").src = source;
}

/** A picture from the server in place of one that the browser cannot show. */
async function instead({ file }) {
  const none = () => { $("sent").hidden = true; $("sent-none").hidden = false; };
  $("sent").onerror = none;
  const answer = file && file.size <= gallery.max_bytes ? await fetch("photos", { method: "POST", body: file }).catch(() => null) : null;
  if (asked?.query.file !== file || !answer?.ok) return none();
  URL.revokeObjectURL(source);
  $("sent").src = source = URL.createObjectURL(await answer.blob());
}

/** While it looks. */
function stay(text, name) {
  state(name);
  document.body.setAttribute("aria-busy", "true");
  if (name === "looking") $("verdict").textContent = "";
  $("status").textContent = text;
  $("failed").textContent = "";
  $("busy").hidden = $("stop").hidden = false;
  $("asked-acts").hidden = name === "looking";
  $("tip").hidden = true;
  document.title = `Looking - ${TITLE}`;
}

/** That nothing was answered, alone on the page. photo: beside the photo it is about. */
function failed(why, photo = false) {
  rest("error");
  document.body.classList.toggle("alone", !photo);
  $("verdict").textContent = "No answer";
  $("status").textContent = "";
  $("failed").textContent = why;
  $("asked-acts").hidden = $("tip").hidden = true;
  document.title = TITLE;
}

function rest(name) {
  state(name);
  document.body.classList.remove("alone");
  document.body.removeAttribute("aria-busy");
  $("busy").hidden = $("stop").hidden = true;
  $("passed").textContent = "";
}

function show(now, look, again) {
  now.look = look;
  const { answer } = look, { seconds, box } = answer;
  rest("answer");
  $("verdict").textContent = look.headline;
  document.title = `${look.headline} - ${TITLE}`;
  $("said").textContent = look.said + (answer.null === "model" ? " Chance is as the model knows it: too few photos here to measure it." : "");
  const second = (seconds.verify ?? 0) + (seconds.rank ?? 0) + (seconds.euclidean ?? 0), all = Object.values(seconds).reduce((a, b) => a + b, 0);
  $("status").textContent = `${box ? "Searched with a part of the photo" : "Searched"} in ${spent(all)}`;
  runs = [[count(answer.candidates), ...(answer.false_alarm === null ? [] : [answer.false_alarm]), spent(second), spent(all)], ...runs].slice(0, SHOWN_RUNS);
  $("cost").tBodies[0].replaceChildren(...runs.map((run) => el("tr", {}, ...run.map((cell) => el("td", {}, String(cell))))));
  markBox(look);
  $("asked-acts").hidden = false;
  $("whole").hidden = !box;
  $("tip").hidden = Boolean(box) || answer.accepted > 0 || !answer.results.length || answer.false_alarm === null;
  $("link").hidden = !now.query.id;
  showAnswer(look, {
    open: (place, lines = false) => openLarge(look, place, lines, source, (id) => search({ id })),
    search: (id) => search({ id }),
    more: (places) => { choose($("k"), String(places)); change(); },
  });
  stands();
  if (!again) $("verdict").focus({ preventScroll: true });
}

/** The box on the small picture of the query, which lies in the middle of a space of 4 to 3. */
function markBox({ answer: { box }, width, height }) {
  $("sent-box").hidden = !box;
  if (!box) return;
  const wide = Math.max(width, height * 4 / 3), high = wide * 3 / 4, mark = $("sent-box").style, [left, top, right, bottom] = box;
  mark.left = `${100 * (left + (wide - width) / 2) / wide}%`;
  mark.top = `${100 * (top + (high - height) / 2) / high}%`;
  mark.width = `${100 * (right - left) / wide}%`;
  mark.height = `${100 * (bottom - top) / high}%`;
}

// ---- what a person does

function change() {
  if (!asked) return;
  asked.choice = choices();
  history.replaceState(null, "", address(asked));
  ask({ again: Boolean(asked.look) });
}

function take(files, wanted) {
  const [file, ...others] = files ?? [];
  if (others.length) tell(`Searching with the first of ${count(files.length)} files.`);
  if (file) search({ file });
  else if (wanted) tell("That is not a photo: drop or paste an image file.");
}

prepareLarge();
prepareBox();
$("file").addEventListener("change", () => { take($("file").files); $("file").value = ""; });
for (const control of Object.values(CHOICES)) $(control).addEventListener("change", change);
$("part").addEventListener("click", () => openBox(source, [asked.look.width, asked.look.height], asked.look.answer.box, (box) => search(asked.query, box)));
$("whole").addEventListener("click", () => search(asked.query));
$("link").addEventListener("click", () => copy(location.href, "Link"));
$("stop").addEventListener("click", () => {
  running?.abort();
  if (asked?.look) return rest("answer");
  failed("Stopped.", true);
});
$("ask").addEventListener("submit", (event) => event.preventDefault());
$("unlock").addEventListener("submit", async (event) => {
  event.preventDefault();
  await unlock($("token").value.trim());
  $("token").value = "";
  await begin();
  if (!gallery) tell("That is not the token.");
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files, true);
  });
}
document.addEventListener("paste", (event) => event.target.tagName !== "INPUT" && take(event.clipboardData.files, true));
addEventListener("hashchange", () => gallery && route());
begin();
