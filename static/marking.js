// Which words of a text were searched for. Pure, like transcript.js.

const WORD = /[\p{L}\p{N}\p{M}]+/gu;

// The text in pieces, [{text, hit}]: a word is hit when it was searched for, the last one also by how it begins. Case and accents
// make no difference, as they make none to the server.
export function marked(text, query) {
  const words = (query.match(WORD) ?? []).map(folded);
  const last = words.at(-1);
  const pieces = [];
  let at = 0;
  for (const { 0: word, index } of text.matchAll(WORD)) {
    if (!words.includes(folded(word)) && !(last && folded(word).startsWith(last))) continue;
    if (index > at) pieces.push({ text: text.slice(at, index), hit: false });
    pieces.push({ text: word, hit: true });
    at = index + word.length;
  }
  if (at < text.length) pieces.push({ text: text.slice(at), hit: false });
  return pieces;
}

const folded = (word) => word.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
