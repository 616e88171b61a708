// Curves between two columns, drawn pixel by pixel: all have one shape, so this is many times faster than a canvas that
// has no graphics card, and as fast on every machine. What is seen is drawn at once, the rest in the frames after.

const TILE = 384; // rows of pixels drawn together
const SPARE = 10; // milliseconds that a frame has for this; where it takes longer, it is drawn coarsely first

export class Ink {
  // `done` is called when all is drawn.
  constructor(canvas, done) {
    Object.assign(this, { canvas, done, cost: 0, pen: document.createElement("canvas").getContext("2d", { willReadFrequently: true }) });
  }

  // Curves `{from, to, strength, thickness}`: heights at the left and right edge and thickness in CSS pixels.
  draw(curves, height, colour) {
    cancelAnimationFrame(this.next);
    const { canvas } = this, scale = devicePixelRatio;
    const [width, rows] = [Math.round(canvas.clientWidth * scale), Math.round(height * scale)];
    if (canvas.width !== width || canvas.height !== rows) Object.assign(canvas, { width, height: rows });
    Object.assign(this, { curves, colour: pixel(this.pen, colour) });
    const { top } = canvas.getBoundingClientRect();
    const isSeen = (tile) => top + (tile.top + tile.height) / scale > 0 && top + tile.top / scale < innerHeight;
    const tiles = Array.from({ length: Math.ceil(rows / TILE) }, (_, number) =>
      ({ top: number * TILE, height: Math.min(TILE, rows - number * TILE) }));
    const seen = tiles.filter(isSeen), began = performance.now();
    const coarse = this.cost > SPARE ? 2 : 1;
    for (const tile of seen) this.#tile(tile, scale, coarse);
    this.cost = (performance.now() - began) * coarse ** 2;
    const rest = [...(coarse > 1 ? seen : []), ...tiles.filter((tile) => !isSeen(tile))];
    const step = () => {
      const tile = rest.shift();
      if (!tile) return this.done();
      this.#tile(tile, scale, 1);
      this.next = requestAnimationFrame(step);
    };
    if (rest.length) this.next = requestAnimationFrame(step);
    else this.done();
  }

  #tile({ top, height }, scale, coarse) {
    const [width, rows] = [Math.ceil(this.canvas.width / coarse), Math.ceil(height / coarse)];
    const clear = spread(this.curves, width, rows, top / coarse, scale / coarse);
    const image = this.pen.createImageData(width, rows);
    const pixels = new Uint32Array(image.data.buffer);
    for (let row = 0, at = 0; row < rows; row++) {
      for (let from = row; at < (row + 1) * width; at++, from += rows) pixels[at] = ((255 * (1 - clear[from])) << 24) | this.colour;
    }
    const context = this.canvas.getContext("2d");
    if (coarse === 1) {
      context.putImageData(image, 0, top);
      return;
    }
    Object.assign(this.pen.canvas, { width, height: rows });
    this.pen.putImageData(image, 0, 0);
    context.clearRect(0, top, this.canvas.width, height);
    context.drawImage(this.pen.canvas, 0, top, width * coarse, rows * coarse);
  }
}

// How much shines through each pixel, [column][row], of the rows from `top` on: the product of what each curve leaves.
function spread(curves, width, rows, top, scale) {
  const clear = new Float32Array(width * rows).fill(1);
  const { depth, slope } = shape(width);
  for (const { from, to, strength, thickness } of curves) {
    const start = from * scale - top, fall = (to - from) * scale, leaves = 1 - strength;
    if (Math.max(start, start + fall) < -8 * scale || Math.min(start, start + fall) > rows + 8 * scale) continue;
    for (let column = 0; column < width; column++) {
      const steep = fall * slope[column];
      const half = (thickness * scale * Math.sqrt(1 + steep * steep)) / 2; // across a column a steep curve is thicker
      const middle = start + fall * depth[column];
      const above = Math.max(middle - half, 0), below = Math.min(middle + half, rows);
      if (above >= below) continue;
      let row = Math.floor(above);
      const last = Math.min(Math.floor(below), rows - 1), base = column * rows;
      if (row === last) {
        clear[base + row] *= 1 - strength * (below - above);
        continue;
      }
      clear[base + row] *= 1 - strength * (row + 1 - above);
      for (row++; row < last; row++) clear[base + row] *= leaves;
      clear[base + last] *= 1 - strength * (below - last);
    }
  }
  return clear;
}

// Of the Bézier curve (0, 0) (1/2, 0) (1/2, 1) (1, 1): how deep it is in the middle of each column, and how steep.
function shape(width) {
  const depth = new Float32Array(width), slope = new Float32Array(width);
  for (let column = 0; column < width; column++) {
    let low = 0, high = 1;
    for (let halving = 0; halving < 24; halving++) {
      const middle = (low + high) / 2;
      if (1.5 * middle * (1 - middle) + middle ** 3 < (column + 0.5) / width) low = middle;
      else high = middle;
    }
    depth[column] = 3 * low * low - 2 * low ** 3;
    slope[column] = (6 * low * (1 - low)) / (1.5 - 3 * low + 3 * low * low) / width;
  }
  return { depth, slope };
}

// A colour as #rrggbb in the order of an image's bytes, without opacity.
function pixel(context, colour) {
  context.fillStyle = colour;
  const number = parseInt(context.fillStyle.slice(1), 16);
  return ((number & 255) << 16) | (number & 0xff00) | (number >> 16);
}
