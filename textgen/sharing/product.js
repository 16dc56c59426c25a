"use strict";
// Matrices times vectors: by WebAssembly, which uses the processor's vector units, or by JavaScript
// alone. The numbers in `moduleBytes` are those of the WebAssembly core specification, section 5.

// The bytes of a module whose `product` is that below, for numbers of 32 bits, four at a time:
// (matrix, x, bias, out, width, rows), addresses in the memory `m.m`; width: bytes of a row, a
// multiple of 16; rows: a multiple of 4.
function moduleBytes() {
  const [matrix, x, bias, out, width, rows, at, value, sums] = [0, 1, 2, 3, 4, 5, 6, 7, 8];
  const four = [0, 1, 2, 3];
  const number = (n) => (n < 128 ? [n] : [(n & 127) | 128, ...number(n >> 7)]);
  const counted = (parts) => [...number(parts.length), ...parts.flat()];
  const get = (local) => [0x20, local];
  const set = (local) => [0x21, local];
  const constant = (n) => [0x41, ...number(n)];
  const [add, subtract, multiply, less, more] = [0x6a, 0x6b, 0x6c, 0x49, 0x4a]; // of integers
  const move = (local, by) => [...get(local), ...by, add, ...set(local)];
  const loop = (body, condition) => [0x03, 0x40, ...body, ...condition, 0x0d, 0, 0x0b];
  const load = [0xfd, 0x00, 2, 0]; // four numbers
  const [sum, times, zeros] = [[0xfd, 0xe4, 1], [0xfd, 0xe6, 1], [0x43, 0, 0, 0, 0, 0xfd, 0x13]];
  const row = (k) => [...get(matrix), ...get(width), ...constant(k), multiply, add];
  const columns = loop(
    [
      ...get(x), ...get(at), add, load, ...set(value),
      ...four.map((k) => [...get(sums + k), row(k), load, ...get(value), times, sum, ...set(sums + k)]),
      ...move(matrix, constant(16)), ...move(at, constant(16)),
    ].flat(2),
    [...get(at), ...get(width), less]
  );
  const lane = (k, n) => [...get(sums + k), 0xfd, 0x1f, n];
  const store = (k) => [
    ...get(out), ...get(bias), 0x2a, 2, 4 * k, ...four.map((n) => [...lane(k, n), 0x92]), 0x38, 2, 4 * k,
  ];
  const body = loop(
    [
      ...constant(0), ...set(at), ...four.map((k) => [...zeros, ...set(sums + k)]), ...columns,
      ...get(matrix), ...get(width), ...constant(3), multiply, add, ...set(matrix), ...four.map(store),
      ...move(out, constant(16)), ...move(bias, constant(16)),
      ...get(rows), ...constant(4), subtract, ...set(rows),
    ].flat(2),
    [...get(rows), ...constant(0), more]
  );
  const code = [2, 1, 0x7f, 5, 0x7b, ...body, 0x0b]; // locals: an integer, five times four numbers
  const name = (text) => counted([...text].map((c) => c.charCodeAt(0)));
  const section = (id, ...parts) => [id, ...counted([...number(parts.length), ...parts.flat()])];
  return Uint8Array.from([
    0, 0x61, 0x73, 0x6d, 1, 0, 0, 0,
    ...section(1, [0x60, 6, ...Array(6).fill(0x7f), 0]),
    ...section(2, [...name("m"), ...name("m"), 2, 0, 1]),
    ...section(3, [0]),
    ...section(7, [...name("product"), 0, 0]),
    ...section(10, counted(code)),
  ]);
}

// For each [matrix, bias] a function of x that returns matrix x + bias, valid until its next call.
function products(pairs) {
  const up = (count) => (count + 3) & ~3;
  const sizes = pairs.map(([matrix, bias]) => [up(bias.length), up(matrix.length / bias.length)]);
  const numbers = sizes.reduce((sum, [rows, width]) => sum + rows * width + 2 * rows + width, 0);
  let memory, multiply;
  try {
    memory = new WebAssembly.Memory({ initial: (numbers >> 14) + 1 });
    const module = new WebAssembly.Module(moduleBytes());
    multiply = new WebAssembly.Instance(module, { m: { m: memory } }).exports.product;
  } catch { // too old a browser, or a policy that forbids it
    return pairs.map(([matrix, bias]) => {
      const out = new Float64Array(bias.length);
      return (x) => product(matrix, x, bias, out);
    });
  }
  let free = 0;
  const take = (count) => new Float32Array(memory.buffer, 4 * (free += count) - 4 * count, count);
  return pairs.map(([matrix, bias], n) => {
    const [rows, width] = sizes[n];
    const [weights, input, biases, out] = [rows * width, width, rows, rows].map(take);
    const filled = matrix.length / bias.length;
    for (let row = 0; row < bias.length; row++) {
      weights.set(matrix.subarray(row * filled, (row + 1) * filled), row * width);
    }
    biases.set(bias);
    const where = [weights, input, biases, out].map((view) => view.byteOffset);
    const found = out.subarray(0, bias.length);
    return (x) => {
      input.set(x);
      multiply(...where, 4 * width, rows);
      return found;
    };
  });
}

// out = matrix x + bias; four rows at a time, so that each x is loaded once for the four
function product(matrix, x, bias, out) {
  const width = x.length;
  const count = out.length;
  let row = 0;
  for (let at = 0; row + 3 < count; row += 4, at += 3 * width) {
    let a = bias[row], b = bias[row + 1], c = bias[row + 2], d = bias[row + 3];
    for (let i = 0; i < width; i++, at++) {
      const value = x[i];
      a += matrix[at] * value;
      b += matrix[at + width] * value;
      c += matrix[at + 2 * width] * value;
      d += matrix[at + 3 * width] * value;
    }
    [out[row], out[row + 1], out[row + 2], out[row + 3]] = [a, b, c, d];
  }
  for (; row < count; row++) {
    let sum = bias[row];
    for (let i = 0; i < width; i++) sum += matrix[row * width + i] * x[i];
    out[row] = sum;
  }
  return out;
}
