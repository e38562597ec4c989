// Small things that every part of the page makes: elements, and numbers as text.
"use strict";

/** An element with attributes and children; text is never read as HTML. */
export function el(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

export const $ = (id) => document.getElementById(id);
export const count = (number) => number.toLocaleString("en");
export const few = (number) => (number >= 9.95 ? count(Math.round(number)) : String(Number(number.toPrecision(2))));
export const photos = (number) => (number === 1 ? "1 photo" : `${count(number)} photos`);
export const spent = (seconds) => (seconds >= 0.9995 ? `${seconds.toFixed(2)} s` : `${Number((seconds * 1000).toPrecision(3))} ms`);

/** A photo's path: the folder softly, and a place to break the line after it. */
export function named(label) {
  const cut = label.lastIndexOf("/") + 1;
  return el("bdi", { title: label }, ...(cut ? [el("span", { class: "soft" }, label.slice(0, cut)), el("wbr")] : []), label.slice(cut));
}

/** Say something for a moment, over whatever is shown. */
export function tell(text) {
  const told = $("told");
  (document.querySelector("dialog[open]") ?? document.body).append(told); // above a dialog, too
  told.textContent = text;
  clearTimeout(tell.ending);
  tell.ending = setTimeout(() => { told.textContent = ""; }, 4000);
}

/** Copy a text. Browsers have the clipboard only at addresses that they call secure: elsewhere the old way serves. */
export async function copy(text, what) {
  const done = await (navigator.clipboard?.writeText(text).then(() => true, () => false)) || copyOld(text);
  tell(done ? `${what} copied.` : `The browser does not let this page copy. ${what}: ${text}`);
}

function copyOld(text) {
  const before = document.activeElement, area = el("textarea", { readonly: "" });
  area.value = text;
  (document.querySelector("dialog[open]") ?? document.body).append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  before?.focus();
  return done;
}
