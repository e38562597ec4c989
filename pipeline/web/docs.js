// The interface's description as a page: every request, what it takes, how it may end.
"use strict";

function el(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

function list(title, items) {
  return items.length ? [el("h3", title), el("ul", ...items.map((item) => el("li", ...item)))] : [];
}

function request(path, method, told) {
  const takes = (told.parameters ?? []).map((one) => [el("code", one.name), ` ${one.required ? "(required)" : ""} ${one.description ?? ""}`]);
  if (told.requestBody) takes.push([el("code", "body"), ` (required) a photo's bytes: ${Object.keys(told.requestBody.content).join(", ")}`]);
  const ends = Object.entries(told.responses).map(([code, one]) => [el("code", code), ` ${one.description}`]);
  return el("article", el("h2", el("code", `${method.toUpperCase()} ${path}`)), el("p", told.description ?? ""), ...list("Takes", takes), ...list("Answers", ends));
}

async function write() {
  const told = await (await fetch("openapi.json")).json();
  for (const [path, methods] of Object.entries(told.paths))
    for (const [method, one] of Object.entries(methods)) document.getElementById("interface").append(request(path, method, one));
  document.getElementById("interface").append(el("article", el("h2", "For example"),
    el("pre", `curl --data-binary @photo.jpg '${location.origin}/search?k=10'`)));
}

write();
