// SHA-256 (FIPS 180-4) of a text's UTF-8: random numbers are those of `lmlab sample`, which are hashes (lmlab/generation/draw.py).
// A page that was opened from a file has the browser's own implementation in some browsers only.

const PRIMES = (() => {
  const found = [];
  for (let number = 2; found.length < 64; number++) if (found.every((prime) => number % prime)) found.push(number);
  return found;
})();
// The first 32 bits of the fractional part of a root: exact, since a double has 52 bits and the roots are below 2^5.
const fraction = (root) => ((root - Math.floor(root)) * 2 ** 32) | 0;
const ROUND = PRIMES.map((prime) => fraction(Math.cbrt(prime)));
const INITIAL = PRIMES.slice(0, 8).map((prime) => fraction(Math.sqrt(prime)));

function sha256(text) {
  const bytes = UTF8.encode(text), blocks = Math.ceil((bytes.length + 9) / 64), padded = new Uint8Array(64 * blocks);
  padded.set(bytes);
  padded[bytes.length] = 0x80;
  const view = new DataView(padded.buffer), state = Int32Array.from(INITIAL), words = new Int32Array(64);
  view.setUint32(64 * blocks - 8, Math.floor((bytes.length * 8) / 2 ** 32));
  view.setUint32(64 * blocks - 4, (bytes.length * 8) >>> 0);
  for (let block = 0; block < blocks; block++) {
    for (let at = 0; at < 16; at++) words[at] = view.getInt32(64 * block + 4 * at);
    compress(state, words);
  }
  const digest = new DataView(new ArrayBuffer(32));
  state.forEach((word, at) => digest.setInt32(4 * at, word));
  return digest;
}

function compress(state, words) {
  const turned = (x, by) => (x >>> by) | (x << (32 - by));
  for (let at = 16; at < 64; at++) {
    const early = words[at - 15], late = words[at - 2];
    const first = turned(early, 7) ^ turned(early, 18) ^ (early >>> 3), second = turned(late, 17) ^ turned(late, 19) ^ (late >>> 10);
    words[at] = (words[at - 16] + first + words[at - 7] + second) | 0;
  }
  let [a, b, c, d, e, f, g, h] = state;
  for (let at = 0; at < 64; at++) {
    const chosen = (e & f) ^ (~e & g), most = (a & b) ^ (a & c) ^ (b & c);
    const one = (h + (turned(e, 6) ^ turned(e, 11) ^ turned(e, 25)) + chosen + ROUND[at] + words[at]) | 0;
    const two = ((turned(a, 2) ^ turned(a, 13) ^ turned(a, 22)) + most) | 0;
    [h, g, f, e, d, c, b, a] = [g, f, e, (d + one) | 0, c, b, a, (one + two) | 0];
  }
  [a, b, c, d, e, f, g, h].forEach((value, at) => { state[at] = (state[at] + value) | 0; });
}

function hexOf(digest) {
  return Array.from({ length: 32 }, (_, at) => digest.getUint8(at).toString(16).padStart(2, "0")).join("");
}
