// Opening a page's model, and the check that it computes what PyTorch computed when the page was written.

const NEAR = 1e-3; // largest difference of a logit, relative to its size where that is above 1

// read(id) returns the text of a data block of the page.
function openModel(read) {
  const facts = JSON.parse(read("facts"));
  const tensors = new Tensors(facts.tensors, read);
  const model = new FAMILIES[facts.model.kind](facts.model, tensors);
  return { facts, model, tokenizer: new TOKENIZERS[facts.tokenizer.name](facts.tokenizer) };
}

// Compare logits at some places of a fixed sample of tokens, the choices along a greedy text, and the tokens of a text.
function checkModel({ facts, model, tokenizer }) {
  const { tokens, places, ids, logits, greedy, text, text_tokens: textTokens, decoded } = facts.check;
  const expected = floatsOf(logits), state = model.start();
  let largest = 0, at = 0;
  tokens.forEach((token, place) => {
    const found = model.advance(state, token, places.includes(place));
    if (found === null) return;
    for (const id of ids) {
      const wanted = expected[at++], apart = Math.abs(found[id] - wanted) / Math.max(1, Math.abs(wanted));
      largest = Number.isNaN(apart) ? Infinity : Math.max(largest, apart);
    }
  });
  const written = model.start();
  let different = 0, lost = 0;
  for (let place = 0; place + 1 < greedy.length; place++) {
    const found = model.advance(written, greedy[place]), [best] = highestPlaces(found, 1), wanted = greedy[place + 1];
    if (best === wanted) continue;
    different++;
    lost = Math.max(lost, (found[best] - found[wanted]) / Math.max(1, Math.abs(found[best])));
  }
  const same = (one, other) => one.length === other.length && one.every((value, place) => value === other[place]);
  const encodes = same(tokenizer.encode(text), textTokens) && decode(tokenizer, tokens) === decoded;
  const passed = largest <= NEAR && lost <= NEAR && encodes;
  return { passed, largest, positions: tokens.length, greedy: greedy.length - 1, different, lost, encodes };
}
