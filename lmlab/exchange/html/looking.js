// The views of a given text: the attention of each head (or the state of a recurrent model), and the surprise of each token.

const MOST_ATTENDED = 64; // tokens of a text whose attention is shown
const MOST_SURPRISES = 2000;
const FULL = 10; // nats at which a token's colour is full

// The tokens of a text, with those that are put before every text.
function tokensOf({ facts, tokenizer }, text) {
  return [...(facts.begin === null ? [] : [facts.begin]), ...tokenizer.encode(text)];
}

class AttentionView {
  constructor(lab) {
    Object.assign(this, { lab, tokens: [], weights: [], layer: 0, head: 0 });
    at("attention_go").addEventListener("click", () => this.show(at("attention_text").value));
    at("attention_note").textContent = lab.model.heads
      ? "One square a head, as layer.head: rows are tokens, columns the tokens that they read. Press a head, then a token."
      : "This model has no attention. Its only memory is a vector: rows are tokens, columns the numbers of the vector after each token.";
  }

  async show(text) {
    showError(null);
    const { lab } = this, { model, tokenizer } = lab;
    try {
      const all = tokensOf(lab, text), kept = Math.min(MOST_ATTENDED, model.context);
      this.tokens = all.slice(-kept);
      at("attention_status").textContent = all.length > kept ? "the last " + kept + " of " + all.length + " tokens" : all.length + " tokens";
      const state = model.start(), heads = Math.max(1, model.heads), layers = model.heads ? model.layers : 1;
      this.weights = Array.from({ length: layers }, () => Array.from({ length: heads }, () => []));
      for (const token of this.tokens) {
        model.advance(state, token, false, (layer, head, weights) => this.weights[layer][head].push(weights));
        await pause();
      }
    } catch (error) {
      showError(error);
      return;
    }
    this.draw(tokenizer);
  }

  draw() {
    const heads = at("heads"), buttons = [];
    const columns = this.weights[0].length;
    heads.classList.toggle("state", !this.lab.model.heads);
    at("attention_columns").classList.toggle("wide", !this.lab.model.heads);
    heads.style.gridTemplateColumns = "repeat(" + columns + ", minmax(" + (this.lab.model.heads ? "3.2rem, 9rem" : "0, 1fr") + "))";
    this.weights.forEach((layer, number) => layer.forEach((rows, head) => {
      const name = this.lab.model.heads ? "layer " + (number + 1) + ", head " + (head + 1) : "context vector";
      const button = element("button", { type: "button", title: name }, drawRows(rows, this.lab.model.heads > 0), this.lab.model.heads ? number + 1 + "." + (head + 1) : name);
      button.addEventListener("click", () => this.choose(number, head));
      buttons.push(button);
    }));
    heads.replaceChildren(...buttons);
    at("head_title").hidden = !this.lab.model.heads || !this.tokens.length;
    at("head_tokens").replaceChildren();
    if (this.lab.model.heads && this.tokens.length) this.choose(Math.min(this.layer, this.weights.length - 1), Math.min(this.head, columns - 1));
  }

  choose(layer, head) {
    if (!this.lab.model.heads) return;
    [this.layer, this.head] = [layer, head];
    Array.from(at("heads").children).forEach((button, place) =>
      button.setAttribute("aria-pressed", String(place === layer * this.weights[0].length + head)));
    at("head_title").textContent = "Layer " + (layer + 1) + ", head " + (head + 1) + ": what a token reads";
    const chips = this.tokens.map((token, place) => {
      const chip = element("button", { type: "button" }, shownToken(this.lab.tokenizer, token));
      chip.addEventListener("click", () => this.point(place));
      chip.addEventListener("pointerenter", () => this.point(place));
      return chip;
    });
    at("head_tokens").replaceChildren(...chips);
    this.point(this.tokens.length - 1);
  }

  // Shade the tokens by the attention of the one at a place.
  point(place) {
    const weights = this.weights[this.layer][this.head][place], mark = colour("--mark");
    Array.from(at("head_tokens").children).forEach((chip, past) => {
      const weight = past < weights.length ? weights[past] : 0;
      chip.setAttribute("aria-pressed", String(past === place));
      chip.style.backgroundColor = weight > 0.001 ? "rgb(" + mark.join(" ") + " / " + (0.85 * Math.sqrt(weight)).toFixed(3) + ")" : "";
      chip.title = past < weights.length ? percent(weight) : "";
    });
  }
}

// A picture with one pixel a number, and a colour for each sign. With `each` a row's brightest pixel is its own largest number,
// since the weights of a late token are shares among many; else that of all rows.
function drawRows(rows, each) {
  const width = Math.max(1, ...rows.map((row) => row.length)), canvas = element("canvas", { width, height: Math.max(1, rows.length) });
  const context = canvas.getContext("2d"), image = context.createImageData(width, Math.max(1, rows.length));
  const colours = [colour("--mark"), colour("--warm")];
  const highest = rows.map((row) => row.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-9)), largest = Math.max(...highest, 1e-9);
  rows.forEach((row, down) => row.forEach((value, across) => {
    const share = Math.sqrt(Math.abs(value) / (each ? highest[down] : largest));
    image.data.set([...colours[value < 0 ? 1 : 0], Math.round(255 * share)], 4 * (down * width + across));
  }));
  context.putImageData(image, 0, 0);
  return canvas;
}

class SurpriseView {
  constructor(lab) {
    this.lab = lab;
    this.run = 0;
    at("surprise_go").addEventListener("click", () => this.show(at("surprise_text").value));
  }

  async show(text) {
    showError(null);
    const { facts, model, tokenizer } = this.lab, box = at("surprise_tokens"), run = ++this.run, warm = colour("--warm");
    box.replaceChildren();
    at("surprise_next").replaceChildren();
    at("surprise_title").hidden = true;
    Array.from(at("surprise_legend").children).filter((one) => one.tagName === "I").forEach((one, place) => {
      one.style.backgroundColor = "rgb(" + warm.join(" ") + " / " + shade(1 + 2.25 * place) + ")";
    });
    at("surprise_legend").hidden = false;
    try {
      const every = tokenizer.encode(text), tokens = every.slice(0, MOST_SURPRISES), decoder = new TextDecoder("utf-8", { ignoreBOM: true });
      const reading = new Text(model, facts.before === null ? [] : [facts.before], facts.first);
      let nats = 0, counted = 0, bytes = 0, slice = performance.now();
      for (const [place, token] of tokens.entries()) {
        const size = tokenizer.bytes(token), span = element("span", {}, decoder.decode(size, { stream: true }));
        box.append(span);
        if (place === 0 && facts.before === null) {
          reading.window = [];
        } else {
          while (!reading.read(16)) slice = await this.breathe(slice);
          const own = -Math.log(Math.max(softmax(reading.logits)[token], 1e-300)), entries = likeliest(reading.logits, SHOWN, token);
          [nats, counted, bytes] = [nats + own, counted + 1, bytes + size.length];
          span.style.backgroundColor = "rgb(" + warm.join(" ") + " / " + shade(own) + ")";
          span.title = number(own / Math.LN2, 1) + " bits";
          const look = () => this.look(span, token, own, entries);
          span.addEventListener("click", look);
          span.addEventListener("pointerenter", look);
        }
        reading.add(token);
        slice = await this.breathe(slice);
        if (run !== this.run) return;
      }
      at("surprise_status").textContent = counted === 0 ? "" : summary(nats, counted, facts.lossless ? bytes : 0)
        + (every.length > tokens.length ? " (the first " + tokens.length + " of " + every.length + ")" : "");
    } catch (error) {
      showError(error);
    }
  }

  async breathe(slice) {
    if (performance.now() - slice < SLICE) return slice;
    await pause();
    return performance.now();
  }

  look(span, token, nats, entries) {
    at("surprise_tokens").querySelector(".chosen")?.classList.remove("chosen");
    span.classList.add("chosen");
    at("surprise_title").hidden = false;
    at("surprise_title").textContent = shownToken(this.lab.tokenizer, token) + ": " + number(nats / Math.LN2, 1) + " bits";
    showBars(at("surprise_next"), this.lab.tokenizer, entries, token, null);
  }
}

const shade = (nats) => (0.8 * Math.min(1, nats / FULL)).toFixed(3);

function summary(nats, counted, bytes) {
  const loss = nats / counted, bits = bytes ? ", " + number(nats / Math.LN2 / bytes, 2) + " bits a byte" : "";
  return counted + " tokens: " + number(loss, 2) + " nats a token, perplexity " + number(Math.exp(loss), 1) + bits;
}
