// Models with different vocabularies cut a text differently: a place is the same where it has the same characters.

// The place of the piece of `tokens` that is of the same text and characters as `token`; null if there is none.
export function counterpart(token, tokens) {
  const found = tokens.findIndex((one) => ["text", "start", "end", "special"].every((name) => one[name] === token[name])
    && (!token.special || one.piece === token.piece));
  return found < 0 ? null : found;
}
