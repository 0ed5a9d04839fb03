// A decoder-only transformer with pre-normalisation, token by token with a cache of keys and values.
//
//   x = token embedding (+ n-gram embeddings) (+ position embedding)
//   for each block:  x = x + attention(norm(x));  x = x + mlp(norm(x))
//   logits = head(norm(x))

const GOLDEN = 0x9e3779b97f4a7c15n; // 2^64 / golden ratio: Knuth's multiplicative hash, as in lmlab/model/ngrams.py
const WORD = 1n << 64n;

class Block {
  constructor(tensors, number) {
    const name = "blocks." + number + ".";
    this.attentionNorm = [tensors.vector(name + "attention_norm.weight"), tensors.vector(name + "attention_norm.bias")];
    this.mlpNorm = [tensors.vector(name + "mlp_norm.weight"), tensors.vector(name + "mlp_norm.bias")];
    this.qkv = new Linear(tensors, name + "attention.qkv");
    this.projection = new Linear(tensors, name + "attention.projection");
    this.up = new Linear(tensors, name + "mlp.up");
    this.down = new Linear(tensors, name + "mlp.down");
    this.firstShare = tensors.vector(name + "attention.first_share");
    this.streamShares = tensors.vector(name + "stream_shares");
  }
}

class GPTModel {
  constructor(settings, tensors) {
    const { width, heads, key_heads: keyHeads, layers, hidden, vocabulary } = settings;
    Object.assign(this, { settings, vocabulary, context: settings.context, layers, heads });
    this.embedding = tensors.matrix("embedding.weight");
    this.positions = settings.positions === "learned" ? tensors.matrix("positions.weight") : null;
    this.tables = settings.ngrams.map((_, number) => tensors.matrix("ngram_tables." + number + ".weight"));
    this.blocks = Array.from({ length: layers }, (_, number) => new Block(tensors, number));
    this.norm = [tensors.vector("norm.weight"), tensors.vector("norm.bias")];
    this.head = settings.tied ? this.embedding : tensors.matrix("head.weight");
    this.headBias = tensors.vector("head.bias");
    this.headWidth = width / heads;
    this.keyWidth = keyHeads * this.headWidth;
    this.group = heads / keyHeads;
    this.frequencies = Float32Array.from({ length: this.headWidth >> 1 }, (_, pair) =>
      settings.rotary_base ** (-2 * pair / this.headWidth));
    const vector = (count) => new Float32Array(count);
    Object.assign(this, { x: vector(width), embedded: vector(width), normed: vector(width), mixed: vector(width),
                          active: vector(hidden), logits: vector(vocabulary), scores: new Float64Array(settings.context) });
  }

  start() {
    const cache = () => Array.from({ length: this.layers }, () => new Float32Array(this.context * this.keyWidth));
    return { held: 0, keys: cache(), values: cache(), recent: [], begins: 0 };
  }

  // Read a token; return the logits of the next one (overwritten by the next call), or null unless they are wanted.
  // watch(layer, head, weights) receives the attention weights of this token over all tokens up to itself.
  advance(state, token, wanted = true, watch = null) {
    if (state.held >= this.context) throw new Error("the context is full");
    const { x, embedded, settings } = this, place = state.held;
    if (token === settings.boundary) state.begins = place;
    this.embed(state, token, place);
    embedded.set(x);
    for (let layer = 0; layer < this.layers; layer++) {
      const block = this.blocks[layer];
      if (block.streamShares !== null) {
        const [own, skipped] = block.streamShares;
        for (let at = 0; at < x.length; at++) x[at] = own * x[at] + skipped * embedded[at];
      }
      this.add(block.projection.of(this.attend(state, block, layer, place, watch)));
      this.add(this.mlp(block));
    }
    state.held++;
    return wanted ? this.read() : null;
  }

  add(change) {
    for (let at = 0; at < change.length; at++) this.x[at] += change[at];
  }

  normalise([weight, bias]) {
    const epsilon = this.settings.norm_epsilon;
    return this.settings.norm === "rmsnorm"
      ? rmsNorm(this.x, weight, epsilon, this.normed)
      : layerNorm(this.x, weight, bias, epsilon, this.normed);
  }

  embed(state, token, place) {
    this.x.fill(0);
    this.embedding.addRow(token, this.x);
    if (this.tables.length) {
      const longest = Math.max(...this.settings.ngrams);
      state.recent = [token, ...state.recent].slice(0, longest);
      this.tables.forEach((table, number) => table.addRow(this.ngramRow(state.recent, this.settings.ngrams[number]), this.x));
    }
    if (this.positions !== null) this.positions.addRow(place, this.x);
  }

  // The row of the n-gram that ends with recent[0]: the newest token is the lowest digit, 0 before the window's start.
  ngramRow(recent, length) {
    const base = BigInt((this.vocabulary + 1) | 1), rows = BigInt(this.settings.ngram_rows);
    let number = 0n, factor = 1n;
    for (let back = 0; back < length; back++, factor *= base) {
      number += BigInt(back < recent.length ? recent[back] + 1 : 0) * factor;
    }
    if (factor <= rows) return Number(number);
    return Number((((number * GOLDEN) % WORD) >> 32n) % rows);
  }

  attend(state, block, layer, place, watch) {
    const { headWidth, heads, keyWidth, group, mixed, scores, settings } = this;
    const found = block.qkv.of(this.normalise(block.attentionNorm));
    const queryWidth = heads * headWidth, keys = state.keys[layer], values = state.values[layer], first = state.values[0];
    for (let start = 0; start < queryWidth + keyWidth; start += headWidth) {
      if (settings.qk_norm) rmsNorm(found, null, settings.norm_epsilon, found, start, headWidth);
      if (settings.positions === "rotary") this.turn(found, start, place);
    }
    const share = block.firstShare === null ? 0 : block.firstShare[0], row = place * keyWidth;
    for (let at = 0; at < keyWidth; at++) {
      keys[row + at] = found[queryWidth + at];
      const own = found[queryWidth + keyWidth + at];
      values[row + at] = share === 0 ? own : own + share * (first[row + at] - own);
    }
    const scale = 1 / Math.sqrt(headWidth);
    mixed.fill(0);
    for (let head = 0; head < heads; head++) {
      const query = head * headWidth, offset = Math.floor(head / group) * headWidth;
      let highest = -Infinity, sum = 0;
      for (let past = state.begins; past <= place; past++) {
        let score = 0;
        for (let at = 0, key = past * keyWidth + offset; at < headWidth; at++, key++) score += found[query + at] * keys[key];
        scores[past] = score * scale;
        if (scores[past] > highest) highest = scores[past];
      }
      for (let past = state.begins; past <= place; past++) sum += scores[past] = Math.exp(scores[past] - highest);
      for (let past = state.begins; past <= place; past++) {
        const weight = (scores[past] /= sum);
        for (let at = 0, value = past * keyWidth + offset; at < headWidth; at++, value++) mixed[query + at] += weight * values[value];
      }
      if (watch !== null) watch(layer, head, Float32Array.from({ length: place + 1 }, (_, past) => past < state.begins ? 0 : scores[past]));
    }
    return mixed;
  }

  // Rotate the pairs of adjacent numbers of a head by angles proportional to the position (arXiv 2104.09864).
  turn(numbers, start, place) {
    for (let pair = 0; pair < this.frequencies.length; pair++) {
      const angle = Math.fround(place * this.frequencies[pair]), cosine = Math.cos(angle), sine = Math.sin(angle);
      const at = start + 2 * pair, x = numbers[at], y = numbers[at + 1];
      numbers[at] = x * cosine - y * sine;
      numbers[at + 1] = x * sine + y * cosine;
    }
  }

  mlp(block) {
    const up = block.up.of(this.normalise(block.mlpNorm)), active = this.active, name = this.settings.activation;
    if (name === "swiglu") {
      for (let at = 0; at < active.length; at++) active[at] = up[at] * sigmoid(up[at]) * up[active.length + at];
    } else {
      const activate = ACTIVATIONS[name];
      for (let at = 0; at < active.length; at++) active[at] = activate(up[at]);
    }
    return block.down.of(active);
  }

  read() {
    const { logits } = this, cap = this.settings.softcap;
    this.head.multiply(this.normalise(this.norm), this.headBias, logits);
    if (cap) for (let at = 0; at < logits.length; at++) logits[at] = cap * Math.tanh(logits[at] / cap);
    return logits;
  }
}
