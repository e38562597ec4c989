// A box drawn on the query: the part of it that is searched for.
"use strict";

import { $ } from "./make.js";

const SIDES = ["left", "top", "width", "height"];
const LEAST = 8; // px of a box's side, less is a slip of the hand
let size = [0, 0], search = null; // (width, height) px of the photo, and what is called with "left,top,width,height"

/** box: left, top, right, bottom px, or null for all of it. */
export function openBox(source, [width, height], box, asking) {
  [size, search] = [[width, height], asking];
  $("boxing-photo").src = source;
  $("boxing-area").style.setProperty("--ratio", width / height);
  const [left, top, right, bottom] = box ?? [0, 0, width, height];
  const limits = [width - 1, height - 1, width, height];
  SIDES.forEach((side, i) => { $(`boxing-${side}`).max = limits[i]; });
  write([left, top, right - left, bottom - top]);
  $("boxing").showModal();
}

function read() {
  const [left, top, width, height] = SIDES.map((side, i) => Math.max(i < 2 ? 0 : 1, Math.round(Number($(`boxing-${side}`).value) || 0)));
  const [x, y] = [Math.min(left, size[0] - 1), Math.min(top, size[1] - 1)];
  return [x, y, Math.min(width, size[0] - x), Math.min(height, size[1] - y)];
}

function write(box) {
  SIDES.forEach((side, i) => { $(`boxing-${side}`).value = box[i]; });
  draw();
}

function draw() {
  const [left, top, width, height] = read(), mark = $("boxing-mark").style;
  mark.left = `${100 * left / size[0]}%`;
  mark.top = `${100 * top / size[1]}%`;
  mark.width = `${100 * width / size[0]}%`;
  mark.height = `${100 * height / size[1]}%`;
}

/** Wire the dialog, once. */
export function prepareBox() {
  const area = $("boxing-area"), dialog = $("boxing");
  let from = null;
  const at = (event) => {
    const seen = area.getBoundingClientRect();
    const part = [(event.clientX - seen.left) / seen.width, (event.clientY - seen.top) / seen.height];
    return part.map((one, i) => Math.round(Math.min(1, Math.max(0, one)) * size[i]));
  };
  area.addEventListener("pointerdown", (event) => {
    from = at(event);
    area.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  area.addEventListener("pointermove", (event) => {
    if (!from) return;
    const to = at(event), [left, top] = [0, 1].map((i) => Math.min(from[i], to[i]));
    const [width, height] = [0, 1].map((i) => Math.abs(from[i] - to[i]));
    if (width >= LEAST && height >= LEAST) write([left, top, width, height]);
  });
  for (const kind of ["pointerup", "pointercancel"]) area.addEventListener(kind, () => { from = null; });
  for (const side of SIDES) $(`boxing-${side}`).addEventListener("input", draw);
  $("boxing-close").addEventListener("click", () => dialog.close());
  $("boxing-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const [left, top, width, height] = read();
    dialog.close();
    search(width === size[0] && height === size[1] ? null : [left, top, width, height].join(","));
  });
}
