// The view that writes: a prompt is continued token by token, and the probabilities of the next token are shown.

const SHOWN = 10; // most probable tokens that are listed
const SLICE = 30; // milliseconds of computing between two pauses

class Writing {
  constructor(lab) {
    Object.assign(this, { lab, text: null, running: false, stopped: false, places: [], pending: null });
    at("form").addEventListener("submit", (event) => { event.preventDefault(); this.restart(() => numberIn("count")); });
    at("one").addEventListener("click", () => (this.text === null || this.asked() !== this.prompt ? this.restart(() => 1) : this.run(() => 1)));
    at("stop").addEventListener("click", () => { this.stopped = true; });
    const { template, prompt } = lab.facts;
    at("prompt").value = template === null ? prompt : "What is the capital of France?";
    at("template_label").hidden = template === null;
    if (template !== null) at("template_text").textContent = "as a question, in the template " + template.name + " that the model was tuned on";
  }

  asked() {
    const { template } = this.lab.facts, given = at("prompt").value;
    return template !== null && at("template").checked ? template.before + given + template.after : given;
  }

  // The whole text so far, for the other views.
  get whole() {
    return this.text === null ? null : decode(this.lab.tokenizer, this.text.tokens);
  }

  // Begin with the prompt, and write as many tokens as wanted() returns.
  async restart(wanted) {
    if (this.running) return;
    showError(null);
    try {
      this.prompt = this.asked();
      const { facts, model, tokenizer } = this.lab, tokens = tokenizer.encode(this.prompt);
      if (facts.begin !== null) tokens.unshift(facts.begin);
      this.text = new Text(model, tokens, facts.first);
      this.draws = new Draws(numberIn("seed"), tokens);
    } catch (error) {
      showError(error);
      return;
    }
    this.decoder = new TextDecoder("utf-8", { ignoreBOM: true });
    this.places = [];
    this.written = "";
    at("written").replaceChildren(element("span", { class: "given" }, this.prompt));
    await this.run(wanted);
  }

  // Write more tokens, or fewer if the text ends or the user stops it.
  async run(wanted) {
    if (this.running) return;
    this.running = true;
    this.stopped = false;
    this.buttons();
    const began = performance.now();
    let made = 0, note = "", slice = began;
    try {
      const sampling = { temperature: numberIn("temperature"), topK: numberIn("top_k"), topP: numberIn("top_p") };
      const count = wanted();
      while (made < count && !this.stopped && note === "") {
        const whole = this.text.read(16);
        if (whole) {
          note = this.add(chooseNext(this.text.logits, sampling, this.draws));
          made++;
        }
        if (performance.now() - slice < SLICE && made < count) continue;
        at("speed").textContent = made + " tokens" + speed(made, began);
        at("written").scrollTop = at("written").scrollHeight;
        this.showNext();
        await pause();
        slice = performance.now();
      }
      at("speed").textContent = made ? made + " token" + (made === 1 ? "" : "s") + (made > 4 ? speed(made, began) : "") + note : "";
      while (!this.text.read(16)) await pause();
      this.showNext();
    } catch (error) {
      showError(error);
    }
    this.running = false;
    this.buttons();
  }

  // Add a token to the text; return why the text ends with it, or nothing.
  add(token) {
    const { tokenizer, facts } = this.lab, logits = Float32Array.from(this.text.logits);
    this.text.add(token);
    if (token === tokenizer.end) return ", end of the text";
    const piece = this.decoder.decode(tokenizer.bytes(token), { stream: true });
    this.written += piece;
    const span = element("span", {}, piece), place = { entries: likeliest(logits, SHOWN, token), token };
    span.addEventListener("click", () => this.showPlace(span, place));
    at("written").append(span);
    const asks = facts.template !== null && at("template").checked;
    return asks && facts.template.stop.some((stop) => this.written.includes(stop)) ? ", end of the answer" : "";
  }

  // The probabilities after the last token; a press on one writes it.
  showNext() {
    at("written").querySelector(".chosen")?.classList.remove("chosen");
    at("next_title").textContent = "Next token";
    at("next_note").textContent = "Probabilities before temperature, top-k and top-p. Press one to write it; press a token of the text to see what else was possible.";
    if (this.text.logits === null) return;
    showBars(at("next"), this.lab.tokenizer, likeliest(this.text.logits, SHOWN), null, (token) => this.choose(token));
  }

  showPlace(span, place) {
    if (this.running) return;
    this.showNext();
    span.classList.add("chosen");
    at("next_title").textContent = "Instead of " + shownToken(this.lab.tokenizer, place.token);
    showBars(at("next"), this.lab.tokenizer, place.entries, place.token, null);
    at("next_note").textContent = "The token that was written is marked.";
  }

  async choose(token) {
    if (this.running) return;
    at("speed").textContent = this.add(token).replace(", ", "");
    while (!this.text.read(16)) await pause();
    this.showNext();
  }

  buttons() {
    at("go").disabled = at("one").disabled = this.running;
    at("stop").disabled = !this.running;
  }
}

const speed = (made, began) => ", " + number((1000 * made) / Math.max(1, performance.now() - began), 0) + " tokens/s";

// The number in a field, within its limits.
function numberIn(id) {
  const field = at(id), found = field.value === "" ? NaN : Number(field.value);
  if (!Number.isFinite(found)) throw new Error(field.parentNode.textContent.trim() + " needs a number");
  const low = field.min === "" ? -Infinity : Number(field.min), high = field.max === "" ? Infinity : Number(field.max);
  const whole = field.step === "1" ? Math.floor(found) : found;
  return Math.min(high, Math.max(low, whole));
}
