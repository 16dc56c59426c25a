// The page: what is pressed, what is shown. Text is only ever inserted as text.
const $ = (id) => document.getElementById(id);
const description = JSON.parse($("model").textContent);
const unit = description.level === "byte" ? "byte" : "character";
const characters = Array.from(description.characters);
const ids = new Map(characters.map((character, id) => [character, id]));
const { backward, end } = description; // end: id of the end symbol, or null
const binary = atob($("weights").textContent);
const bytes = new Uint8Array(binary.length);
for (let i = 0; i < bytes.length; i++) bytes[i] = binary.charCodeAt(i);
const model = new Model(description, unpack(bytes, description));

const cold = model.snapshot();
let pending = end; // the id that is read next; null: nothing was read yet
let place = 0; // of the next draw
let part = []; // bytes of a character that is not complete, in reading order, and their costs
let cells = []; // one for each character shown: a span
let before = []; // what each press began with, for taking it back
let writing = false; // until Stop is pressed
let running = false; // until it has stopped
const costs = new WeakMap(); // span -> cost

// Names of what cannot be seen.
const NAMES = { "\n": "line end", "\r": "carriage return", " ": "space", "\t": "tab" };
const named = (text) => NAMES[text] || text;
function symbol(id) {
  if (id === end) return "end";
  if (description.level === "char") return id === description.unknown ? "\ufffd" : characters[id];
  return id < 128 ? String.fromCharCode(id) : `byte ${id}`;
}

function encode(given) {
  const form = description.normalize.toUpperCase();
  const text = form === "NONE" ? given : given.normalize(form);
  if (description.level === "byte") return { known: Array.from(new TextEncoder().encode(text)), unknown: [] };
  const typed = Array.from(text);
  const known = typed.map((c) => (ids.has(c) ? ids.get(c) : description.unknown)).filter((id) => id !== null);
  return { known, unknown: [...new Set(typed.filter((c) => !ids.has(c)))] };
}

// The characters that an id completes, often one: { text, cost }.
function completed(id, paid) {
  if (id === end) return [...(part.length ? [broken()] : []), { text: "\n", cost: paid }];
  if (description.level === "char") return [{ text: symbol(id), cost: paid }];
  const ends = backward ? id < 128 : (id & 192) !== 128; // whether a new character begins with it
  const done = ends && part.length ? [broken()] : [];
  part[backward ? "unshift" : "push"]({ id, cost: paid });
  const last = backward ? id >= 192 : part[0].id < 192;
  const text = decoded();
  if (text !== null || part.length === 4 || last) done.push(broken(text));
  return done;
}

function decoded() {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(Uint8Array.from(part, (b) => b.id));
  } catch {
    return null;
  }
}

// What stands for the bytes read so far, which are then done with; their costs are added up.
function broken(text = null) {
  const paid = part.map((byte) => byte.cost).filter(Boolean);
  const drawn = paid[backward ? paid.length - 1 : 0];
  const bits = paid.reduce((sum, each) => sum + each.bits, 0);
  part = [];
  return { text: text ?? "\ufffd", cost: drawn ? { ...drawn, bits } : null };
}

function show(id, paid, piece) {
  for (const { text, cost } of completed(id, paid)) {
    const span = document.createElement("span");
    span.textContent = text;
    costs.set(span, { text, cost });
    cells.push(span);
    piece[backward ? "prepend" : "append"](span);
  }
}

function attach(piece) {
  const box = $("text");
  const follow = backward || box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  box[backward ? "prepend" : "append"](piece);
  if (follow) box.scrollTop = backward ? 0 : box.scrollHeight;
}

// Do `step` until it says that it is done, or Stop is pressed, and show what it appends meanwhile.
async function often(step) {
  let done = false;
  while (writing && !done) {
    const piece = document.createDocumentFragment();
    const until = performance.now() + 30; // milliseconds between two looks of the reader
    while (performance.now() < until && !done) done = step(piece);
    attach(piece);
    await new Promise((resume) => setTimeout(resume));
  }
}

// Read what was typed as if it had been written.
async function read(text) {
  const { known, unknown } = encode(text);
  if (backward) known.reverse();
  let next = 0;
  await often((piece) => {
    if (next === known.length) return true;
    const id = known[next++];
    show(id, pending === null ? null : cost(model.step(pending), id, 5), piece);
    pending = id;
    return false;
  });
  return unknown;
}

function settings() {
  const number = (id) => $(id).valueAsNumber;
  const options = { temperature: number("temperature"), topK: number("top-k"), topP: number("top-p"), minP: number("min-p") };
  const typed = $("seed").value;
  const seed = typed === "" ? crypto.getRandomValues(new Uint32Array(1))[0] : Number(typed);
  return { options, seed, length: number("length") };
}

async function write() {
  if (!$("form").reportValidity()) return;
  const { options, seed, length } = settings();
  const typed = $("typed").value;
  before.push({ state: model.snapshot(), pending, place, part: part.slice(), count: cells.length, typed });
  writing = running = true;
  buttons();
  say("");
  $("typed").value = "";
  const unknown = await read(typed);
  const began = performance.now();
  let written = 0;
  if (pending === null) pending = description.first;
  await often((piece) => {
    const logits = model.step(pending);
    pending = pick(kept(logits, options, description.unknown), uniform(seed, place++));
    show(pending, cost(logits, pending, 5), piece);
    if (pending === end) model.restore(cold); // what comes next is another document
    else written++;
    return pending === end || written === length;
  });
  writing = running = false;
  buttons();
  const rate = Math.round((written / Math.max(1, performance.now() - began)) * 1000);
  const how = description.unknown === null ? "Left out" : "Read as unknown";
  const note = unknown.length ? ` ${how}, for the model never saw them: ${unknown.map(named).join(" ")}` : "";
  say(`${written} ${unit}s, ${rate} per second, seed ${seed}.${note}`);
}

function takeBack() {
  const last = before.pop();
  model.restore(last.state);
  ({ pending, place, part } = last);
  cells.splice(last.count).forEach((span) => span.remove());
  if ($("typed").value === "") $("typed").value = last.typed;
  explain(null);
  buttons();
  say("Taken back.");
}

function startOver() {
  model.restore(cold);
  [pending, place, part, cells, before] = [end, 0, [], [], []];
  $("text").replaceChildren();
  explain(null);
  buttons();
  say("");
}

async function copy() {
  const text = Array.from($("text").children, (span) => costs.get(span).text).join("");
  try {
    await navigator.clipboard.writeText(text);
  } catch { // an older browser, or not allowed
    getSelection().selectAllChildren($("text"));
    if (!document.execCommand("copy")) return say("The browser does not copy; the text is selected.");
  }
  say("Copied.");
}

function buttons() {
  $("write").textContent = running ? "Stop" : cells.length ? "Go on" : "Write";
  for (const id of ["back", "over", "copy"]) $(id).disabled = running || !before.length;
}

const say = (message) => { $("status").textContent = message; };

// Show what a character cost, and the likeliest in its place; span: null for none.
let marked = null;
function explain(span) {
  marked?.classList.remove("marked");
  marked = span;
  $("cost").replaceChildren();
  if (!span) return;
  span.classList.add("marked");
  const add = (tag, text) => {
    const element = document.createElement(tag);
    element.textContent = text;
    $("cost").append(element);
  };
  const { text, cost: paid } = costs.get(span);
  add("bdi", named(text));
  add("span", paid ? ` ${paid.bits.toFixed(2)} bits. Likeliest: ` : " was the first.");
  for (const [id, p] of paid ? paid.likeliest : []) {
    add("bdi", named(symbol(id)));
    add("span", ` ${(100 * p).toFixed(p < 0.1 ? 1 : 0)} %  `);
  }
}

function move(event) {
  const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
  if (!step || !cells.length || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const all = $("text").children;
  const forward = getComputedStyle($("text")).direction === "ltr" || !Number.isFinite(step) ? step > 0 : step < 0;
  let next = forward ? all[all.length - 1] : all[0];
  if (marked && Number.isFinite(step)) next = forward ? marked.nextElementSibling : marked.previousElementSibling;
  if (next) {
    explain(next);
    next.scrollIntoView({ block: "nearest" });
  }
}

const toggle = () => { if (running) writing = false; else write(); };
$("form").addEventListener("submit", (event) => { event.preventDefault(); toggle(); });
$("typed").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !running) { event.preventDefault(); write(); }
});
document.addEventListener("keydown", (event) => { if (event.key === "Escape") writing = false; });
for (const kind of ["pointerover", "click"]) {
  $("text").addEventListener(kind, ({ target }) => { if (costs.has(target)) explain(target); });
}
$("text").addEventListener("keydown", move);
$("back").addEventListener("click", takeBack);
$("over").addEventListener("click", startOver);
$("copy").addEventListener("click", copy);
if (backward) $("typed-label").textContent = "Text to write towards";
buttons();
$("write").disabled = false;
say("Ready.");
