// What is shown, as the query of a URL under exBERT's names; `pubmedbert.explore.link` reads it.

const numbers = (array) => `..${array.join(",")}`;
const quoted = (text) => encodeURIComponent(text.toWellFormed()).replaceAll("%2F", "/").replaceAll("%2C", ",");

// `heads` is how many the model has; all of them, and no others, are left out.
export function query(state, heads) {
  const given = {
    model: state.asked || state.model,
    modelKind: "bidirectional",
    sentence: state.sentence,
    sentenceB: state.sentence_b,
    layer: String(state.layer),
    heads: state.heads.length === heads && state.heads.every((head, place) => head === place) ? null : numbers(state.heads),
    threshold: String(state.threshold),
    tokenInd: state.token === null ? null : String(state.token),
    tokenSide: state.side,
    maskInds: numbers(state.masks),
    hideClsSep: String(state.hide_special),
    method: state.method === "raw" ? null : state.method,
  };
  const pairs = Object.entries(given).filter(([, value]) => value !== null && value !== undefined);
  return `?${pairs.map(([name, value]) => `${name}=${quoted(value)}`).join("&")}`;
}
