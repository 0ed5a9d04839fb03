"use strict";
// Matrices of a model, in float32 or in int8 with a scale for each row, and the functions of vectors that both families use.
// Numbers are stored in float32; sums are computed in float64, JavaScript's only arithmetic.

function bytesOf(base64) {
  const text = atob(base64), bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at++) bytes[at] = text.charCodeAt(at);
  return bytes;
}

function floatsOf(base64) {
  return new Float32Array(bytesOf(base64).buffer);
}

class Matrix {
  // values: Float32Array or Int8Array [rows x columns]; scales: Float32Array [rows], or null for float32.
  constructor(values, scales, rows, columns) {
    Object.assign(this, { values, scales, rows, columns });
  }

  // out[r] = row r . x (+ bias[r]), of `columns` numbers x.
  multiply(x, bias, out) {
    const { values, scales, rows, columns } = this, whole = columns - (columns % 4);
    for (let row = 0, start = 0; row < rows; row++, start += columns) {
      // Four sums, since each addition waits for the one before it.
      let a = 0, b = 0, c = 0, d = 0;
      for (let at = 0; at < whole; at += 4) {
        const place = start + at;
        a += values[place] * x[at];
        b += values[place + 1] * x[at + 1];
        c += values[place + 2] * x[at + 2];
        d += values[place + 3] * x[at + 3];
      }
      for (let at = whole; at < columns; at++) a += values[start + at] * x[at];
      const sum = a + b + c + d;
      out[row] = (scales === null ? sum : sum * scales[row]) + (bias === null ? 0 : bias[row]);
    }
    return out;
  }

  // Add a row to out.
  addRow(row, out) {
    const { values, scales, columns } = this, scale = scales === null ? 1 : scales[row];
    for (let at = 0, place = row * columns; at < columns; at++, place++) out[at] += values[place] * scale;
  }
}

// The tensors of a page by name: read(id) returns the base64 text of one.
class Tensors {
  constructor(entries, read) {
    this.found = new Map();
    for (const entry of entries) {
      const bytes = bytesOf(read(entry.id)), [rows, columns] = entry.shape.length === 2 ? entry.shape : [1, entry.shape[0]];
      if (entry.kind === "int8") {
        const scales = new Float32Array(bytes.buffer, 0, rows);
        this.found.set(entry.name, new Matrix(new Int8Array(bytes.buffer, 4 * rows), scales, rows, columns));
      } else {
        this.found.set(entry.name, new Matrix(new Float32Array(bytes.buffer), null, rows, columns));
      }
    }
  }

  has(name) {
    return this.found.has(name);
  }

  matrix(name) {
    if (!this.found.has(name)) throw new Error("the page has no tensor " + name);
    return this.found.get(name);
  }

  // The numbers of a tensor with one axis, which is always float32; null where the model has none.
  vector(name) {
    return this.found.has(name) ? this.found.get(name).values : null;
  }
}

// A linear layer: matrix and bias, and the vector that it fills.
class Linear {
  constructor(tensors, name) {
    this.matrix = tensors.matrix(name + ".weight");
    this.bias = tensors.vector(name + ".bias");
    this.out = new Float32Array(this.matrix.rows);
  }

  of(x) {
    return this.matrix.multiply(x, this.bias, this.out);
  }
}

// LayerNorm (arXiv 1607.06450), with out = weight x normalised + bias.
function layerNorm(x, weight, bias, epsilon, out) {
  const count = x.length;
  let mean = 0, variance = 0;
  for (let at = 0; at < count; at++) mean += x[at];
  mean /= count;
  for (let at = 0; at < count; at++) variance += (x[at] - mean) ** 2;
  const inverse = 1 / Math.sqrt(variance / count + epsilon);
  for (let at = 0; at < count; at++) out[at] = (x[at] - mean) * inverse * weight[at] + (bias === null ? 0 : bias[at]);
  return out;
}

// RMSNorm (arXiv 1910.07467) of `count` numbers from `start` on; weight may be null. out may be x.
function rmsNorm(x, weight, epsilon, out, start = 0, count = x.length) {
  let squares = 0;
  for (let at = start; at < start + count; at++) squares += x[at] * x[at];
  const inverse = 1 / Math.sqrt(squares / count + epsilon);
  for (let at = 0; at < count; at++) out[start + at] = x[start + at] * inverse * (weight === null ? 1 : weight[at]);
  return out;
}

// The error function, to 1.5e-7 (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26).
function erf(x) {
  const t = 1 / (1 + 0.3275911 * Math.abs(x));
  const sum = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  const found = 1 - sum * Math.exp(-x * x);
  return x < 0 ? -found : found;
}

function sigmoid(x) {
  return 1 / (1 + Math.exp(-x));
}

const ACTIVATIONS = {
  relu: (x) => (x > 0 ? x : 0),
  relu2: (x) => (x > 0 ? x * x : 0),
  gelu: (x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2)),
  gelu_tanh: (x) => 0.5 * x * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x * x * x))),
};
