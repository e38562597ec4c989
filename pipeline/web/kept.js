// The photos that were sent lately, kept in this browser alone, so that an answer's address leads back to it after a reload.
"use strict";

const STORE = "sent", MOST = 8; // photos kept
const here = new Map(); // where the browser keeps nothing, as in a private window: as long as the page is open

function opened() {
  return new Promise((resolve, reject) => {
    const asked = indexedDB.open("two-look", 1);
    asked.onupgradeneeded = () => asked.result.createObjectStore(STORE, { autoIncrement: true }).createIndex("key", "key");
    asked.onsuccess = () => resolve(asked.result);
    asked.onerror = () => reject(asked.error);
  });
}

const done = (request) => new Promise((resolve, reject) => {
  request.onsuccess = () => resolve(request.result);
  request.onerror = () => reject(request.error);
});

/** Keep a File. Returns at once the word by which it is asked for. */
export function keep(file) {
  const key = [...crypto.getRandomValues(new Uint8Array(8))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  here.set(key, file);
  store(key, file).catch(() => null); // the page works without
  return key;
}

async function store(key, file) {
  const base = await opened();
  try {
    const all = base.transaction(STORE, "readwrite").objectStore(STORE);
    await done(all.add({ key, file }));
    const numbers = await done(all.getAllKeys());
    for (const old of numbers.slice(0, -MOST)) all.delete(old);
  } finally {
    base.close();
  }
}

/** The File of a word, or nothing. */
export async function recall(key) {
  if (here.has(key)) return here.get(key);
  try {
    const base = await opened();
    const found = await done(base.transaction(STORE).objectStore(STORE).index("key").get(key));
    base.close();
    return found?.file;
  } catch {
    return undefined;
  }
}
