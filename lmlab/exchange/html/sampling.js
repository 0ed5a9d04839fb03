// The next token: probabilities, filters and draws, the same as those of `lmlab sample`.

function softmax(logits) {
  let highest = -Infinity, sum = 0;
  for (const logit of logits) if (logit > highest) highest = logit;
  const found = new Float64Array(logits.length);
  for (let at = 0; at < logits.length; at++) sum += found[at] = Math.exp(logits[at] - highest);
  for (let at = 0; at < found.length; at++) found[at] /= sum;
  return found;
}

// The `count` highest places of an array, in descending order; of equal ones the lowest first.
function highestPlaces(values, count) {
  const found = [];
  for (let at = 0; at < values.length; at++) {
    if (found.length === count && !(values[at] > values[found[count - 1]])) continue;
    let place = found.length;
    while (place > 0 && values[at] > values[found[place - 1]]) place--;
    found.splice(place, 0, at);
    if (found.length > count) found.pop();
  }
  return found;
}

// Logits by temperature (above 0), the k highest (0: all), and the fewest whose probability reaches p (1: all).
function filtered(logits, { temperature, topK, topP }) {
  let highest = -Infinity;
  for (const logit of logits) if (logit > highest) highest = logit;
  const found = Float32Array.from(logits, (logit) => Math.fround(logit - highest) / temperature);
  if (topK > 0 && topK < found.length) {
    const lowest = Float32Array.from(found).sort()[found.length - topK];
    for (let at = 0; at < found.length; at++) if (found[at] < lowest) found[at] = -Infinity;
  }
  if (topP < 1) {
    const probabilities = softmax(found), order = Array.from(found.keys()).sort((a, b) => found[b] - found[a] || a - b);
    let before = 0;
    order.forEach((token, rank) => {
      if (rank && before >= topP) found[token] = -Infinity;
      before += probabilities[token];
    });
  }
  return found;
}

// The token at which the cumulative probability exceeds a number in [0, 1).
function drawn(logits, uniform) {
  const probabilities = softmax(logits);
  let total = 0;
  for (const probability of probabilities) total += probability;
  const target = uniform * total;
  let sum = 0;
  for (let token = 0; token < probabilities.length; token++) {
    sum += probabilities[token];
    if (sum > target) return token;
  }
  return highestPlaces(probabilities, 1)[0];
}

// The random numbers of a text: number n is the upper 53 bits of the first eight bytes of SHA-256("KEY n").
class Draws {
  constructor(seed, prompt) {
    this.key = hexOf(sha256(seed + " 0 " + prompt.join(" ")));
    this.count = 0;
  }

  next() {
    const digest = sha256(this.key + " " + this.count++), whole = digest.getBigUint64(0, true);
    return Number(whole >> 11n) * 2 ** -53;
  }
}

function chooseNext(logits, sampling, draws) {
  if (!Number.isFinite(Math.max(...highestPlaces(logits, 1).map((at) => logits[at])))) {
    throw new Error("the model's logits are no finite numbers: its weights have diverged");
  }
  return sampling.temperature === 0 ? highestPlaces(logits, 1)[0] : drawn(filtered(logits, sampling), draws.next());
}

// A text that is being written: its tokens, and the window of them that the model has read. A window that is longer than the
// context is cut to the most recent half of it, and read again.
class Text {
  constructor(model, tokens, start) {
    this.model = model;
    this.tokens = [...tokens];
    this.window = tokens.length ? tokens.slice(-model.context) : [start];
    this.state = model.start();
    this.logits = null;
  }

  // Read at most `most` tokens; return whether all are read.
  read(most = Infinity) {
    for (let count = 0; this.state.held < this.window.length && count < most; count++) {
      const last = this.state.held === this.window.length - 1;
      this.logits = this.model.advance(this.state, this.window[this.state.held], last);
    }
    return this.state.held === this.window.length;
  }

  add(token) {
    this.tokens.push(token);
    this.window.push(token);
    this.logits = null;
    if (this.window.length > this.model.context) {
      this.window = this.window.slice(this.model.context + 1 - Math.floor(this.model.context / 2));
      this.state = this.model.start();
    }
  }
}
