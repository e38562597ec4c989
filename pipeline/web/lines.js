// Two photos side by side with the lines of their matches.
"use strict";

import { count, el, svg } from "./make.js";

const BOX = 480, GAP = 20; // units of a drawing: the square a photo is fitted into, the room between two
export const narrow = matchMedia("(max-width: 44rem)");

/** Where each photo lies: {x, y, width, height, scale}, side by side, or one above the other where there is no room. */
function panels(...sizes) {
  const scales = sizes.map(([width, height]) => BOX / Math.max(width, height));
  const boxes = sizes.map(([width, height], i) => ({ width: width * scales[i], height: height * scales[i], scale: scales[i] }));
  const high = Math.max(...boxes.map((box) => box.height)), wide = Math.max(...boxes.map((box) => box.width));
  let x = 0, y = 0;
  for (const box of boxes) {
    box.x = narrow.matches ? (wide - box.width) / 2 : x;
    box.y = narrow.matches ? y : (high - box.height) / 2;
    x += box.width + GAP;
    y += box.height + GAP;
  }
  return { boxes, width: narrow.matches ? wide : x - GAP, height: narrow.matches ? y - GAP : high };
}

/** A polygon over a photo, cut off at the photo's edge, which an inner svg does by itself; corners [x, y] px. */
function frame(box, map, corners) {
  const points = corners.map(([x, y]) => by(map, x, y).map((side) => (side + 0.5) * box.scale));
  const polygon = svg("polygon", { class: "frame", points: points.flat().every(Number.isFinite) ? points.join(" ") : "" });
  return svg("svg", { x: box.x, y: box.y, width: box.width, height: box.height }, polygon);
}

/** The corners of left, top, right, bottom px. */
const corners = ([left, top, right, bottom]) => [[left, top], [right, top], [right, bottom], [left, bottom]].map(([x, y]) => [x - 0.5, y - 0.5]);

export function inverse([[a, b, c], [d, e, f]]) {
  const area = a * e - b * d;
  return [[e / area, -b / area, (b * f - c * e) / area], [-d / area, a / area, (c * d - a * f) / area]];
}

/** How the query is drawn so that it lies as in the other photo: mirrored, then turned by so many quarters. */
export function turn(result) {
  return result.accepted ? { quarters: (Math.round(result.turned / 90) + 4) % 4, mirrored: result.mirrored } : { quarters: 0, mirrored: false };
}

/** A map of the query's pixels, as they are, to those of the query as it is drawn. */
export function upright({ quarters, mirrored }, width, height) {
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
export function composed([[a, b, c], [d, e, f]], then) {
  const [[s, t], [u, v], [x, y]] = [[a, d], [b, e], [c, f]].map(([p, q]) => then.map(([k, l]) => k * p + l * q));
  return [[s, u, x + then[0][2]], [t, v, y + then[1][2]]];
}

/** Both photos with their lines, and what is drawn, in words; source: where the query's picture is. */
export function pair(look, result, shown, source) {
  const way = turn(result), there = upright(way, look.width, look.height), aside = way.quarters % 2 === 1;
  const size = aside ? [look.height, look.width] : [look.width, look.height];
  const { boxes: [left, right], width, height } = panels(size, [shown.width, shown.height]);
  const holder = el("div", { class: "pair" });
  holder.style.setProperty("--ratio", width / height);
  for (const [box, src, alt] of [[left, source, "Your photo"], [right, `photos/${shown.id}`, shown.label]]) {
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
  const part = look.answer.box, asked = corners(part ?? [0, 0, look.width, look.height]);
  const frames = [frame(right, result.affine, asked)];
  frames.push(part ? frame(left, there, asked) : frame(left, composed(inverse(result.affine), there), corners([0, 0, shown.width, shown.height])));
  const label = `${count(result.inliers)} of ${count(result.matches)} matching points of the two photos agree on one map`;
  holder.append(svg("svg", { class: "over", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label }, ...frames, group("out", shown.outliers), group("in", shown.inliers)));
  return el("figure", {}, holder, el("figcaption", {}, caption(result, shown, part)));
}

function caption(result, shown, part) {
  const others = result.matches - result.inliers, and = others ? `, and ${shown.outliers.length} of ${count(others)} that do not (dashed)` : "";
  const drawn = `${shown.inliers.length} of ${count(result.inliers)} points that agree on one map${and}`;
  const turned = turn(result).quarters || turn(result).mirrored ? ", turned as the gallery's shows it," : "";
  const framed = part ? "the part that was searched for, in both photos" : "where each photo lies in the other";
  return `Your photo${turned} ${narrow.matches ? "above, the gallery's below" : "left, the gallery's right"}. Drawn: ${drawn}. Frames: ${framed}.`;
}
