// Text to tokens and back. Text that looks like a special token is ordinary text.
//
// Each tokenizer has encode(text), which throws an error that names what it doesn't know, bytes(token), the UTF-8 of a token,
// and end, the token that ends a text (null: none).

const UTF8 = new TextEncoder();
const NOTHING = new Uint8Array(0);

class Characters {
  constructor({ alphabet, documents_end: ends, replace }) {
    this.letters = Array.from(alphabet);
    this.ids = new Map(this.letters.map((letter, id) => [letter, id]));
    this.end = ends ? this.letters.length : null;
    this.unknown = replace ? this.letters.length + (ends ? 1 : 0) : null;
  }

  encode(text) {
    return Array.from(text, (letter) => {
      const id = this.ids.get(letter) ?? this.unknown;
      if (id === null) throw new Error("the model has never seen " + shownSymbol(letter) + ": leave it out");
      return id;
    });
  }

  bytes(token) {
    if (token === this.end) return NOTHING;
    return UTF8.encode(token === this.unknown ? "\ufffd" : this.letters[token]);
  }
}

class Bytes {
  constructor({ documents_end: ends }) {
    this.end = ends ? 256 : null;
  }

  encode(text) {
    return Array.from(UTF8.encode(text));
  }

  bytes(token) {
    return token < 256 ? Uint8Array.of(token) : NOTHING;
  }
}

// Python's white space, which separates words: JavaScript's \s has U+FEFF, and lacks U+001C to U+001F and U+0085.
const SPACES = /[\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

class Words {
  // Ids: padding 0, unknown 1, begin 2, end 3, then the words.
  constructor({ words, lowercase, replace }) {
    this.shown = ["", "<unk>", "", "", ...words];
    this.ids = new Map(words.map((word, number) => [word, number + 4]));
    Object.assign(this, { lowercase, replace, end: 3 });
  }

  encode(text) {
    const words = (this.lowercase ? text.toLowerCase() : text).split(SPACES).filter((word) => word);
    return words.map((word) => {
      const id = this.ids.get(word) ?? (this.replace ? 1 : null);
      if (id === null) throw new Error("the model has never seen the word " + JSON.stringify(word.slice(0, 40)) + ": leave it out");
      return id;
    });
  }

  bytes(token) {
    return this.shown[token] ? UTF8.encode(" " + this.shown[token]) : NOTHING;
  }
}

// GPT-2's pattern; \p{White_Space} is the Unicode property that its \s means, which JavaScript's isn't.
const PATTERN =
  /'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\p{White_Space}\p{L}\p{N}]+|\p{White_Space}+(?!\P{White_Space})|\p{White_Space}/gu;

// The bytes in GPT-2's order, those printable in Latin-1 first, and the characters that stand for them in merges.
function byteAlphabet() {
  const printable = [[33, 126], [161, 172], [174, 255]].flatMap(([first, last]) =>
    Array.from({ length: last - first + 1 }, (_, at) => first + at));
  const others = Array.from({ length: 256 }, (_, byte) => byte).filter((byte) => !printable.includes(byte));
  const symbols = [...printable, ...others.map((_, number) => 256 + number)].map((point) => String.fromCharCode(point));
  return { order: [...printable, ...others], symbols };
}

// Byte-level BPE of GPT-2: each piece begins as bytes; of all adjacent pairs the one that makes the earliest token is joined.
class BytePairs {
  constructor({ merges, end_first: endFirst }) {
    const { order, symbols } = byteAlphabet(), first = endFirst ? 1 : 0;
    this.symbolOf = new Array(256);
    this.byteOf = new Map();
    order.forEach((byte, number) => { this.symbolOf[byte] = symbols[number]; this.byteOf.set(symbols[number], byte); });
    this.tokens = [...symbols, ...merges.map((line) => line.replace(" ", ""))];
    if (endFirst) this.tokens.unshift("");
    else this.tokens.push("");
    this.end = endFirst ? 0 : this.tokens.length - 1;
    this.ids = new Map(this.tokens.slice(first, first + 256 + merges.length).map((token, number) => [token, number + first]));
    this.known = new Map();
  }

  encode(text) {
    const found = [];
    for (const [piece] of text.matchAll(PATTERN)) for (const id of this.piece(piece)) found.push(id);
    return found;
  }

  piece(text) {
    if (this.known.has(text)) return this.known.get(text);
    const parts = Array.from(UTF8.encode(text), (byte) => this.symbolOf[byte]);
    for (;;) {
      let best = Infinity, place = -1;
      for (let at = 0; at + 1 < parts.length; at++) {
        const id = this.ids.get(parts[at] + parts[at + 1]);
        if (id !== undefined && id < best) [best, place] = [id, at];
      }
      if (place < 0) break;
      parts.splice(place, 2, parts[place] + parts[place + 1]);
    }
    const ids = parts.map((part) => this.ids.get(part));
    if (text.length <= 32) this.known.set(text, ids);
    return ids;
  }

  bytes(token) {
    return Uint8Array.from(this.tokens[token], (symbol) => this.byteOf.get(symbol));
  }
}

const TOKENIZERS = { characters: Characters, bytes: Bytes, words: Words, gpt2: BytePairs, bpe: BytePairs };

// The text of tokens; invalid UTF-8 becomes U+FFFD.
function decode(tokenizer, tokens) {
  const parts = tokens.map((token) => tokenizer.bytes(token)), whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) { whole.set(part, at); at += part.length; }
  const text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(whole);
  return tokenizer instanceof Words ? text.slice(1) : text;
}

// One token for a person to read: white space as signs, and bytes that are no whole characters as numbers.
function shownToken(tokenizer, token) {
  if (token === tokenizer.end) return "end of text";
  const bytes = tokenizer.bytes(token), text = new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
  if (!bytes.length) return "token " + token;
  if (text.includes("\ufffd") && !(tokenizer instanceof Characters)) {
    return Array.from(bytes, (byte) => "\\x" + byte.toString(16).padStart(2, "0")).join("");
  }
  return Array.from(text, shownSymbol).join("");
}

function shownSymbol(symbol) {
  const signs = { " ": "\u2423", "\n": "\u21b5", "\t": "\u21e5", "\r": "\u240d" };
  if (signs[symbol]) return signs[symbol];
  return /[\p{C}\p{Z}]/u.test(symbol) ? "U+" + symbol.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") : symbol;
}
