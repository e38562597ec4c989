// The page: one photo goes out, an answer comes back, and both are drawn. What it shows comes from `POST /look` and `GET /look/ID`.
"use strict";

const $ = (id) => document.getElementById(id);
const BOX = 480, GAP = 20; // units of a drawing: the square a photo is fitted into, the room between two
const SHOWN_RUNS = 5, PATIENCE = 5; // lines of the table of costs; times to ask a busy server
const narrow = matchMedia("(max-width: 44rem)");
const asked = []; // every query of this visit, so that the browser's Back goes back to them: a File, or an id
let gallery = null, current = null, running = null, runs = [], sentUrl = "", drawers = [];

/** An element with attributes and children; text is never read as HTML. */
function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) key === "onclick" ? made.addEventListener("click", value) : made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

const count = (number) => number.toLocaleString("en");
const few = (number) => (number >= 9.95 ? count(Math.round(number)) : String(Number(number.toPrecision(2))));
const spent = (seconds) => (seconds >= 0.9995 ? `${seconds.toFixed(2)} s` : `${Number((seconds * 1000).toPrecision(3))} ms`);

function say(text, kind = "") {
  $("status").className = kind;
  $("status").textContent = text;
}

// ---- the gallery and its controls

async function begin() {
  const word = new URLSearchParams(location.hash.slice(1)).get("token");
  if (word) {
    history.replaceState(null, "", location.pathname); // out of the address, and of what may be copied from it
    await unlock(word);
  }
  const answer = await fetch("gallery").catch(() => null);
  if (!answer?.ok) {
    $("unlock").hidden = answer?.status !== 401;
    $("ask").hidden = true;
    if (answer?.status === 401) return $("token").focus();
    return say("The server does not answer.", "bad");
  }
  $("unlock").hidden = true;
  $("ask").hidden = false;
  gallery = await answer.json();
  $("about").textContent = `${count(gallery.photos)} photos, recipe ${gallery.recipe}, model ${gallery.model}`;
  const usual = Math.min(gallery.photos, parseInt(gallery.candidates) * (gallery.candidates.endsWith("x") ? gallery.k : 1));
  const sizes = new Set([10, 40, 100, 400, 1000, 4000].filter((size) => size < gallery.photos).concat(usual));
  fill($("candidates"), [...sizes].sort((a, b) => a - b).filter(Boolean), usual, (n) => (n === gallery.photos ? `all ${count(n)}` : count(n)));
  $("rates").hidden = gallery.false_alarm === null;
  if (gallery.false_alarm === null) return;
  const rates = new Set([0.001, 0.01, 0.1, 1, 10, gallery.false_alarm]);
  fill($("rate"), [...rates].sort((a, b) => a - b), gallery.false_alarm, (rate) => `at most ${rate}`);
}

function fill(select, values, chosen, word) {
  select.replaceChildren(...values.map((value) => el("option", { value, ...(value === chosen ? { selected: "" } : {}) }, word(value))));
}

async function unlock(word) {
  await fetch("session", { method: "POST", headers: { authorization: `Bearer ${word}` } }).catch(() => null);
}

// ---- asking

/** Search with a File or an id. A newer search ends an older one. */
async function search(query, { remember = true, keep = false } = {}) {
  if (!gallery) return;
  if (query instanceof File && query.size > gallery.max_bytes) return say(`That photo is larger than ${count(gallery.max_bytes)} bytes.`, "bad");
  if (remember) history.pushState({ place: asked.push(query) - 1 }, "");
  running?.abort();
  const mine = (running = new AbortController());
  const choice = new URLSearchParams({ candidates: $("candidates").value || "1" });
  if (gallery.false_alarm !== null) choice.set("false_alarm", $("rate").value);
  const sending = query instanceof File ? { method: "POST", body: query } : {};
  say("Looking", "busy");
  try {
    for (let times = 1; ; times++) {
      const answer = await fetch(`look${query instanceof File ? "" : `/${query}`}?${choice}`, { ...sending, signal: mine.signal });
      if (answer.status === 503 && times < PATIENCE) {
        say("The server is busy; waiting for a place", "busy");
        await new Promise((wake) => setTimeout(wake, 1000 * Number(answer.headers.get("retry-after") ?? 1)));
        if (mine.signal.aborted) return;
        continue;
      }
      const body = await answer.json();
      if (answer.status === 401) begin();
      if (!answer.ok) return say(`The photo was not searched with: ${body.detail}.`, "bad");
      if (query !== current) runs = [];
      current = query;
      show(body, choice);
      if (!keep) $("verdict").focus({ preventScroll: true });
      return;
    }
  } catch (error) {
    if (error.name !== "AbortError") say("The server does not answer.", "bad");
  }
}

// ---- showing

function show(look, choice) {
  URL.revokeObjectURL(sentUrl);
  sentUrl = current instanceof File ? URL.createObjectURL(current) : `photos/${current}`;
  $("sent").src = sentUrl;
  $("verdict").textContent = look.headline;
  $("said").textContent = look.said + (look.answer.null === "model" ? " Chance is as the model knows it: too few photos here to measure it." : "");
  const { seconds, candidates, false_alarm: rate } = look.answer;
  const second = (seconds.verify ?? 0) + (seconds.rank ?? 0), all = Object.values(seconds).reduce((a, b) => a + b, 0);
  runs = [[count(candidates), rate ?? "", spent(second), spent(all)], ...runs].slice(0, SHOWN_RUNS);
  $("cost").tBodies[0].replaceChildren(...runs.map((run) => el("tr", {}, ...run.map((cell) => el("td", {}, String(cell))))));
  drawers = [];
  $("places").replaceChildren(...look.answer.results.map((result, i) => place(look, result, look.places[i])));
  $("result").hidden = false;
  say(`${look.headline}. ${look.answer.results.length} places shown, found in ${spent(all)}.`);
}

function place(look, result, shown) {
  const byCodes = result.code_distance !== null;
  const facts = { "first look → now": `${count(result.coarse_rank)} → ${count(result.rank)}`, distance: result.distance.toFixed(3) };
  if (byCodes) facts["distance of the real-valued codes"] = result.code_distance.toFixed(3);
  else Object.assign(facts, { matches: count(result.matches), inliers: count(result.inliers) });
  if (result.false_alarms !== null) facts["false alarms expected"] = few(result.false_alarms);
  const badge = byCodes ? "ranked twice" : result.accepted ? "✓ match" : shown.verdict;
  const picture = el("img", { src: `thumbnails/${shown.id}`, alt: "", loading: "lazy", width: shown.width, height: shown.height });
  picture.style.height = "auto";
  const head = el("div", { class: "head" }, el("span", { class: "rank" }, String(result.rank)), el("h3", {}, el("bdi", {}, shown.label)),
    el("p", {}, el("span", { class: "badge" }, badge), el("br"), shown.why));
  const again = el("button", { class: "again", type: "button", onclick: () => search(shown.id), "aria-label": `Search with ${shown.label}` }, picture, "Search with this photo");
  const list = el("dl", {}, ...Object.entries(facts).map(([fact, value]) => el("div", {}, el("dt", {}, fact), el("dd", {}, value))));
  const item = el("li", { class: `place ${result.accepted ? "accepted" : "filled"}` }, head, again, list);
  if (result.affine) item.append(figure(look, result, shown));
  return item;
}

// ---- match lines

/** Both photos with their match lines; drawn when it is opened, anew when the window becomes narrow or wide. */
function figure(look, result, shown) {
  const body = el("figure"), details = el("details", result.accepted ? { open: "" } : {}, el("summary", {}, "Match lines"), body);
  const draw = () => details.open && body.replaceChildren(pair(look, result, shown), caption(result, shown));
  details.addEventListener("toggle", draw);
  drawers.push(draw);
  draw();
  return details;
}

function caption(result, shown) {
  const drawn = `${shown.inliers.length} of ${count(result.inliers)} inliers, ${shown.outliers.length} of ${count(result.matches - result.inliers)} outliers (dashed)`;
  return el("figcaption", {}, `Your photo${turn(result).quarters || turn(result).mirrored ? ", turned as the gallery's shows it," : ""} ${narrow.matches ? "above, the gallery's below" : "left, the gallery's right"}; drawn: ${drawn}. Frames: where each photo lies in the other.`);
}

/** Where each photo lies: {x, y, width, height, scale}, side by side, or one above the other where there is no room. */
function panels(...sizes) {
  const scales = sizes.map(([width, height]) => BOX / Math.max(width, height));
  const boxes = sizes.map(([width, height], i) => ({ width: width * scales[i], height: height * scales[i], scale: scales[i] }));
  const high = Math.max(...boxes.map((box) => box.height));
  let y = 0;
  boxes.forEach((box, i) => {
    box.x = (narrow.matches ? 0 : i * (BOX + GAP)) + (BOX - box.width) / 2;
    box.y = narrow.matches ? y : (high - box.height) / 2;
    y += box.height + GAP;
  });
  return { boxes, width: narrow.matches ? BOX : 2 * BOX + GAP, height: narrow.matches ? y - GAP : high };
}

/** The edge of a photo of this size as a map puts it into another photo, cut off at that one's edge, which an inner svg does by itself. */
function frame(box, [width, height], [[a, b, c], [d, e, f]]) {
  const corners = [[0, 0], [1, 0], [1, 1], [0, 1]].map(([x, y]) => [x * width - 0.5, y * height - 0.5]);
  const points = corners.map(([x, y]) => [(a * x + b * y + c + 0.5) * box.scale, (d * x + e * y + f + 0.5) * box.scale]);
  const polygon = svg("polygon", { class: "frame", points: points.flat().every(Number.isFinite) ? points.join(" ") : "" });
  return svg("svg", { x: box.x, y: box.y, width: box.width, height: box.height }, polygon);
}

function inverse([[a, b, c], [d, e, f]]) {
  const area = a * e - b * d;
  return [[e / area, -b / area, (b * f - c * e) / area], [-d / area, a / area, (c * d - a * f) / area]];
}

/** How the query is drawn so that it lies as in the other photo: mirrored, then turned by so many quarters. */
function turn(result) {
  return result.accepted ? { quarters: (Math.round(result.turned / 90) + 4) % 4, mirrored: result.mirrored } : { quarters: 0, mirrored: false };
}

/** A map of the query's pixels, as they are, to those of the query as it is drawn. */
function upright({ quarters, mirrored }, width, height) {
  let map = mirrored ? [[-1, 0, width - 1], [0, 1, 0]] : [[1, 0, 0], [0, 1, 0]];
  for (let i = 0; i < quarters; i++) {
    const [[a, b, c], [d, e, f]] = map;
    map = [[-d, -e, height - 1 - f], [a, b, c]];
    [width, height] = [height, width];
  }
  return map;
}

const by = ([[a, b, c], [d, e, f]], x, y) => [a * x + b * y + c, d * x + e * y + f];

/** One map, then another. */
function composed([[a, b, c], [d, e, f]], then) {
  const [[s, t], [u, v], [x, y]] = [[a, d], [b, e], [c, f]].map(([p, q]) => then.map(([k, l]) => k * p + l * q));
  return [[s, u, x + then[0][2]], [t, v, y + then[1][2]]];
}

function pair(look, result, shown) {
  const way = turn(result), there = upright(way, look.width, look.height), aside = way.quarters % 2 === 1;
  const size = aside ? [look.height, look.width] : [look.width, look.height];
  const { boxes: [left, right], width, height } = panels(size, [shown.width, shown.height]);
  const holder = el("div", { class: "pair" });
  holder.style.aspectRatio = `${width} / ${height}`;
  for (const [box, src, alt] of [[left, sentUrl, "Your photo"], [right, `photos/${shown.id}`, shown.label]]) {
    const image = el("img", { src, alt });
    const [across, down] = box === left && aside ? [box.height, box.width] : [box.width, box.height];
    const where = { left: (box.x + (box.width - across) / 2) / width, top: (box.y + (box.height - down) / 2) / height, width: across / width, height: down / height };
    if (box === left) image.style.transform = `rotate(${90 * way.quarters}deg)${way.mirrored ? " scaleX(-1)" : ""}`;
    for (const [side, part] of Object.entries(where)) image.style[side] = `${100 * part}%`;
    holder.append(image);
  }
  const at = (box, x, y) => [(x + 0.5) * box.scale + box.x, (y + 0.5) * box.scale + box.y]; // a pixel is a square, its centre half a pixel inside
  const group = (kind, lines) => svg("g", { class: kind }, ...lines.flatMap(([x, y, u, v]) => {
    const [[x1, y1], [x2, y2]] = [at(left, ...by(there, x, y)), at(right, u, v)];
    return [svg("line", { x1, y1, x2, y2 }), svg("path", { class: "dot", d: `M${x1},${y1}h0M${x2},${y2}h0` })];
  }));
  const frames = [frame(right, [look.width, look.height], result.affine), frame(left, [shown.width, shown.height], composed(inverse(result.affine), there))];
  const label = `${count(result.inliers)} of ${count(result.matches)} matching points of the two photos agree on one map`;
  holder.append(svg("svg", { class: "over", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...frames, group("out", shown.outliers), group("in", shown.inliers)));
  return holder;
}

// ---- drop, paste, pick, back

function take(files, wanted) {
  const photo = [...(files ?? [])][0];
  if (photo) search(photo);
  else if (wanted) say("That is not a photo: drop or paste an image file.", "bad");
}

$("file").addEventListener("change", () => { take($("file").files); $("file").value = ""; });
for (const control of ["candidates", "rate"]) $(control).addEventListener("change", () => current && search(current, { remember: false, keep: true }));
$("ask").addEventListener("submit", (event) => event.preventDefault());
$("unlock").addEventListener("submit", async (event) => {
  event.preventDefault();
  await unlock($("token").value.trim());
  $("token").value = "";
  await begin();
  say(gallery ? "" : "That is not the token.", "bad");
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    document.body.classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files, true);
  });
}
document.addEventListener("paste", (event) => event.target.id === "token" || take(event.clipboardData.files, true));
addEventListener("popstate", (event) => event.state && search(asked[event.state.place], { remember: false }));
narrow.addEventListener("change", () => drawers.forEach((draw) => draw()));
begin();
