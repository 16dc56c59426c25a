// The network and the draw, without a document: what textgen does in Python, in the same order.

// The arrays by name, each a Float32Array, row by row; bytes: as textgen/sharing/rounding.py packs.
function unpack(bytes, { precision, shapes }) {
  let at = 0;
  const take = (Type, count) => {
    const begin = at;
    at += count * Type.BYTES_PER_ELEMENT;
    return new Type(bytes.buffer.slice(begin, at));
  };
  const arrays = {};
  for (const [name, shape] of Object.entries(shapes)) {
    const count = shape.reduce((a, b) => a * b);
    if (shape.length === 1 || precision === "fp32") {
      arrays[name] = take(Float32Array, count);
    } else if (precision === "fp16") {
      arrays[name] = Float32Array.from(take(Uint16Array, count), half);
    } else {
      const scales = take(Float32Array, shape[0]);
      const width = shape[1];
      const values = take(Int8Array, count);
      arrays[name] = new Float32Array(count);
      for (let i = 0; i < count; i++) arrays[name][i] = values[i] * scales[(i / width) | 0];
    }
  }
  return arrays;
}

// The number whose IEEE 754 binary16 is `bits`; the weights are finite.
function half(bits) {
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  const size = exponent ? 2 ** (exponent - 25) * (1024 + fraction) : 2 ** -24 * fraction;
  return bits >> 15 ? -size : size;
}

const sigmoid = (x) => 1 / (1 + Math.exp(-x));

// The equations stand in textgen/inference/folding.py. x: W x + b, gate after gate; u: U h + b;
// the hidden state h and the cell c are replaced.
const CELLS = {
  lstm(x, u, h, c) {
    const n = h.length;
    for (let j = 0; j < n; j++) {
      const i = sigmoid(x[j] + u[j]);
      const f = sigmoid(x[n + j] + u[n + j]);
      const g = Math.tanh(x[2 * n + j] + u[2 * n + j]);
      const o = sigmoid(x[3 * n + j] + u[3 * n + j]);
      c[j] = f * c[j] + i * g;
      h[j] = o * Math.tanh(c[j]);
    }
  },
  gru(x, u, h) {
    const n = h.length;
    for (let j = 0; j < n; j++) {
      const r = sigmoid(x[j] + u[j]);
      const z = sigmoid(x[n + j] + u[n + j]);
      const candidate = Math.tanh(x[2 * n + j] + r * u[2 * n + j]);
      h[j] = candidate + z * (h[j] - candidate);
    }
  },
  rnn(x, u, h) {
    for (let j = 0; j < h.length; j++) h[j] = Math.tanh(x[j] + u[j]);
  },
};

class Model {
  constructor(description, arrays) {
    this.cell = CELLS[description.cell];
    this.reach = description.history;
    this.matched = this.reach ? description.matched : [];
    const names = ["embedding", ...this.matched.map((_, k) => `matches.${k}`)];
    this.tables = names.map((name) => arrays[`${name}.weight`]);
    this.grams = arrays["grams.weight"]; // undefined where there are none
    this.gram = description.gram;
    this.factor = description.factor;
    this.input = new Float64Array(this.tables[0].length / arrays["head.bias"].length);
    const pairs = description.hidden.flatMap((_, n) =>
      ["ih", "hh"].map((name) => ["weight", "bias"].map((what) => arrays[`layers.${n}.${what}_${name}_l0`]))
    );
    const made = products([...pairs, [arrays["head.weight"], arrays["head.bias"]]]);
    this.head = made[made.length - 1];
    this.layers = description.hidden.map((width, n) => ({
      w: made[2 * n], u: made[2 * n + 1], out: new Float64Array(width), skip: description.skips[n],
    }));
    const layers = description.hidden.map((width) => [0, 0].map(() => new Float64Array(width)));
    this.restore({ layers, history: [] });
  }

  // Read a character; the logits of the next, valid until the next step.
  step(id) {
    let below = this.read(id);
    this.layers.forEach(({ w, u, out, skip }, n) => {
      const [h, c] = this.state[n];
      this.cell(w(below), u(h), h, c);
      for (let j = 0; j < h.length; j++) out[j] = skip ? h[j] + below[j] : h[j];
      below = out;
    });
    return this.head(below);
  }

  // Those of textgen/model/matches.py; undefined where there is none.
  matches(id) {
    const ids = this.history;
    ids.push(id);
    if (ids.length > this.reach) ids.shift();
    return this.matched.map((length) => {
      const last = ids.length - length;
      for (let begin = last - 1; begin >= 0; begin--) {
        let k = 0;
        while (k < length && ids[begin + k] === ids[last + k]) k++;
        if (k === length) return ids[begin + k];
      }
      return undefined;
    });
  }

  // What the first layer reads: the rows of the character, of its matches and of the n-gram.
  read(id) {
    this.input.fill(0);
    [id, ...this.matches(id)].forEach((row, k) => { if (row !== undefined) this.add(this.tables[k], row); });
    if (this.grams) {
      const rows = this.grams.length / this.input.length;
      const last = this.history.slice(-this.gram);
      this.add(this.grams, last.reduce((row, i) => (row * this.factor + i + 1) % rows, 0));
    }
    return this.input;
  }

  add(rows, at) {
    const width = this.input.length;
    for (let j = 0; j < width; j++) this.input[j] += rows[at * width + j];
  }

  // A copy of the state: for each layer hidden and cell, and the ids that matches are found in.
  snapshot() {
    const layers = this.state.map((parts) => parts.map((part) => part.slice()));
    return { layers, history: this.history.slice() };
  }

  restore({ layers, history }) {
    this.state = layers.map((parts) => parts.map((part) => part.slice()));
    this.history = history.slice();
  }
}

// What the next character is drawn from, relative to the likeliest, 0 where filtered out.
// never: an id that is not drawn, or null.
function kept(logits, { temperature, topK, topP, minP }, never) {
  const allowed = Float32Array.from(logits);
  if (never !== null) allowed[never] = -Infinity;
  let best = 0;
  allowed.forEach((value, i) => { if (value > allowed[best]) best = i; });
  if (temperature < 1e-6) return Float64Array.from(allowed, (_, i) => (i === best ? 1 : 0));
  const top = allowed[best];
  const p = Float64Array.from(allowed, (v) => Math.exp(Math.fround(v - top) * (1 / temperature)));
  if (topK > 0 && topK < p.length) {
    const least = Float64Array.from(p).sort()[p.length - topK];
    p.forEach((value, i) => { if (value < least) p[i] = 0; });
  }
  if (topP < 1) {
    const order = Array.from(p.keys()).sort((a, b) => p[b] - p[a] || a - b);
    const total = order.reduce((sum, i) => sum + p[i], 0);
    let reached = 0;
    order.forEach((i, rank) => {
      reached += p[i];
      if (rank > 0 && reached - p[i] >= topP * total) p[i] = 0;
    });
  }
  p.forEach((value, i) => { if (value < minP) p[i] = 0; });
  return p;
}

// The id that u, uniform in [0, 1), picks.
function pick(p, u) {
  const goal = Math.min(u, 1 - 2 ** -50) * p.reduce((sum, value) => sum + value, 0);
  let reached = 0;
  return p.findIndex((value) => (reached += value) > goal);
}

// What id costs in bits under the model itself, and the likeliest ids: [id, p], p at most 1.
function cost(logits, id, count) {
  const top = logits.reduce((a, b) => Math.max(a, b));
  const total = logits.reduce((sum, value) => sum + Math.exp(value - top), 0);
  const likeliest = [];
  for (let i = 0; i < logits.length; i++) {
    if (likeliest.length === count && logits[i] <= logits[likeliest[count - 1]]) continue;
    const at = likeliest.findIndex((other) => logits[i] > logits[other]);
    likeliest.splice(at < 0 ? likeliest.length : at, 0, i);
    likeliest.length = Math.min(likeliest.length, count);
  }
  const bits = (Math.log(total) - (logits[id] - top)) / Math.LN2;
  return { bits, likeliest: likeliest.map((i) => [i, Math.exp(logits[i] - top) / total]) };
}

// A number in [0, 1) that depends on seed and place alone (MurmurHash3's finalizer, Appleby 2011).
function uniform(seed, place) {
  const mixed = (h) => {
    h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    return (h ^ (h >>> 16)) >>> 0;
  };
  const word = (n) => mixed(mixed(mixed(seed ^ 0x9e3779b9) + n) ^ seed);
  return ((word(2 * place) >>> 5) * 2 ** 26 + (word(2 * place + 1) >>> 6)) / 2 ** 53;
}
