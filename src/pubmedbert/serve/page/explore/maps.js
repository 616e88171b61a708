// The numbers behind what is drawn: sums over heads, means of each head, the strongest edges. A byte b of a map stands
// for (b / 255)², so a sum of attentions is a whole number of parts, UNIT of them to 1, and exact.

export const UNIT = 255 * 255;

export class Maps {
  // Bytes [layer][head][from][to] of the given shape.
  constructor(bytes, [layers, heads, length]) {
    Object.assign(this, { bytes, layers, heads, length });
  }

  map(layer, head) {
    if (!(layer < this.layers && head < this.heads)) throw new RangeError(`There is no layer ${layer + 1} with a head ${head + 1}.`);
    const area = this.length * this.length;
    return this.bytes.subarray((layer * this.heads + head) * area, (layer * this.heads + head + 1) * area);
  }

  // The sum [from][to] of some heads of a layer, in parts; hidden places give nothing and take nothing.
  sum(layer, heads, hidden = []) {
    const { length } = this;
    const total = new Int32Array(length * length);
    for (const head of heads) {
      const map = this.map(layer, head);
      for (let at = 0; at < map.length; at++) total[at] += map[at] * map[at];
    }
    for (const place of hidden) {
      for (let other = 0; other < length; other++) total[place * length + other] = total[other * length + place] = 0;
    }
    return total;
  }

  // For each place of a side and each head of a layer, [place][head]: the mean attention that the place gives (left)
  // or is given (right); with a place of the other side chosen, its attention to that one, or from it. From 0 to 1.
  heat(layer, side, hidden = [], chosen = null) {
    const { length, heads } = this;
    const found = new Float64Array(length * heads);
    const zero = new Set(hidden);
    const shown = [...Array(length).keys()].filter((place) => !zero.has(place));
    const others = chosen === null ? shown : shown.filter((place) => place === chosen);
    const [step, stride] = side === "left" ? [length, 1] : [1, length];
    for (let head = 0; head < heads; head++) {
      const map = this.map(layer, head);
      for (const place of shown) {
        let total = 0;
        for (const other of others) total += map[place * step + other * stride] ** 2;
        found[place * heads + head] = total / UNIT / (chosen === null ? length : 1);
      }
    }
    return found;
  }
}

// The columns of each row of a square sum, the largest first; of equal ones, the first first.
export function ranked(sum, length) {
  const order = new Uint16Array(sum.length);
  const keys = new Float64Array(length);
  for (let row = 0; row < sum.length; row += length) {
    for (let to = 0; to < length; to++) keys[to] = sum[row + to] * length + (length - 1 - to);
    keys.sort();
    for (let rank = 0; rank < length; rank++) order[row + rank] = length - 1 - (keys[length - 1 - rank] % length);
  }
  return order;
}

// exBERT's threshold: of each row, the largest entries until they reach a share of the row's sum. Their indices.
export function strongest(sum, order, length, share) {
  const found = [];
  for (let row = 0; row < sum.length; row += length) {
    let wanted = 0;
    for (let to = 0; to < length; to++) wanted += sum[row + to];
    wanted *= share;
    for (let rank = 0, reached = 0; rank < length && reached < wanted; rank++) {
      const at = row + order[row + rank];
      if (!sum[at]) break;
      reached += sum[at];
      found.push(at);
    }
  }
  return found;
}
