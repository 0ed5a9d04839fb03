// A context-propagation model: a recurrent model whose state is a vector that each token updates.
//
//   x = [token embedding; context vector];  h = output of the layers (linear, relu)
//   logits = head(h);  vector <- clamp(LayerNorm(forget x vector + input x candidate), -10, 10)
//
// With `residual` each layer adds to a stream and reads it divided by its root mean square, as gates and head do.

const LARGEST = 10;
const EPSILON = 1e-5;

class ContextModel {
  constructor(settings, tensors) {
    const { width, hidden, vector, layers, vocabulary } = settings;
    Object.assign(this, { settings, vocabulary, context: settings.context, layers, heads: 0 });
    this.embedding = tensors.matrix("embedding.weight");
    this.blocks = Array.from({ length: layers }, (_, number) => new Linear(tensors, "blocks." + number));
    this.gates = new Linear(tensors, "gates");
    this.norm = [tensors.vector("norm.weight"), tensors.vector("norm.bias")];
    this.head = new Linear(tensors, "head");
    this.x = new Float32Array(width + vector);
    this.stream = new Float32Array(hidden);
    this.normed = new Float32Array(hidden);
    this.mixed = new Float32Array(vector);
  }

  start() {
    return { held: 0, vector: new Float32Array(this.settings.vector) };
  }

  // As of GPTModel; watch(0, 0, vector) receives the context vector after this token.
  advance(state, token, wanted = true, watch = null) {
    if (state.held >= this.context) throw new Error("the context is full");
    const { x, mixed, settings } = this, { width, vector: count, residual } = settings;
    x.fill(0, 0, width);
    this.embedding.addRow(token, x);
    x.set(state.vector, width);
    let read = x;
    for (const [layer, block] of this.blocks.entries()) {
      const out = block.of(read);
      for (let at = 0; at < out.length; at++) if (out[at] < 0) out[at] = 0;
      read = out;
      if (residual) {
        for (let at = 0; at < out.length; at++) this.stream[at] = out[at] + (layer ? this.stream[at] : 0);
        read = rmsNorm(this.stream, null, EPSILON, this.normed);
      }
    }
    const gates = this.gates.of(read);
    for (let at = 0; at < count; at++) {
      mixed[at] = sigmoid(gates[count + at]) * state.vector[at] + sigmoid(gates[2 * count + at]) * gates[at];
    }
    layerNorm(mixed, this.norm[0], this.norm[1], EPSILON, state.vector);
    for (let at = 0; at < count; at++) state.vector[at] = Math.min(LARGEST, Math.max(-LARGEST, state.vector[at]));
    state.held++;
    if (watch !== null) watch(0, 0, Float32Array.from(state.vector));
    return wanted ? this.head.of(read) : null;
  }
}

const FAMILIES = { gpt: GPTModel, context: ContextModel };
