// A view as shapes, which are written as SVG or painted on a canvas: on white, for print.

import { ROW, thickness } from "./view.js";

const CELL = 12, COLUMN = 130, BETWEEN = 300, GAP = 8, TOP = 80;
const INK = { text: "#17212b", quiet: "#566370", curve: "#1b62b5", heat: "#1b62b5", chosen: "#b34700", ground: "#fff0e5", paper: "#ffffff" };
const FONT = "DejaVu Sans, Noto Sans, Segoe UI, Helvetica, Arial, sans-serif";

// The shapes of a view, `{width, height, shapes}`. A shape is a `rect`, a `curve` or a `text`; `title` and `about` stand
// above.
export function scene(view, title, about) {
  const { heads } = view.answer.maps, size = view.tokens.length;
  const map = heads * CELL, x = { heatLeft: GAP, left: GAP + map + GAP, right: 0, heatRight: 0 };
  const from = x.left + COLUMN, to = from + BETWEEN;
  x.heatRight = to + COLUMN + GAP;
  const width = x.heatRight + map + GAP, height = TOP + size * ROW + GAP;
  const middle = (place) => TOP + (place + 0.5) * ROW;
  const shapes = [{ kind: "rect", x: 0, y: 0, width, height, fill: INK.paper, opacity: 1 }];
  const text = (content, x, y, anchor, fill = INK.text, bold = false, size = 13, underlined = false) =>
    shapes.push({ kind: "text", content, x, y, anchor, fill, bold, size, underlined });

  text(title, GAP, 22, "start", INK.text, true);
  text(about, GAP, 42, "start", INK.quiet, false, 11);
  const heading = view.isRolled ? "rollout" : "heads";
  for (const [content, at, anchor] of [[heading, x.heatLeft, "start"], ["from", from - 6, "end"], ["to", to + 6, "start"], [heading, x.heatRight, "start"]]) {
    text(content, at, TOP - 8, anchor, INK.quiet, false, 11);
  }
  for (const side of ["left", "right"]) {
    const values = view.heat(side), most = values.reduce((larger, one) => Math.max(larger, one), 0);
    values.forEach((value, at) => {
      if (value > 0) shapes.push({ kind: "rect", x: (side === "left" ? x.heatLeft : x.heatRight) + (at % heads) * CELL, y: TOP + Math.floor(at / heads) * ROW + 1, width: CELL - 1, height: ROW - 2, fill: INK.heat, opacity: round(value / most) });
    });
  }
  const { active, chosen: { pinned } } = view, edges = view.edges(), hidden = new Set(view.hidden), linked = view.linked(edges);
  for (const at of edges) {
    const strength = view.strength(at);
    shapes.push({ kind: "curve", x: from, y: middle(Math.floor(at / size)), toX: to, toY: middle(at % size), ink: active ? INK.chosen : INK.curve, opacity: round(strength), width: round(thickness(strength)) });
  }
  view.tokens.forEach((token, place) => {
    const piece = token.masked ? "[MASK]" : token.piece;
    for (const side of ["left", "right"]) {
      const chosen = active?.place === place && active.side === side;
      if (chosen) {
        const frame = pinned?.place === place && pinned.side === side ? INK.chosen : INK.ground;
        shapes.push({ kind: "rect", x: (side === "left" ? x.left : to) + 1, y: TOP + place * ROW + 1, width: COLUMN - 2, height: ROW - 2, fill: INK.ground, opacity: 1, frame });
      }
      text(piece, side === "left" ? from - 6 : to + 6, middle(place) + 4.5, side === "left" ? "end" : "start", chosen ? INK.chosen : hidden.has(place) ? INK.quiet : INK.text, chosen, 13, Boolean(active) && active.side !== side && linked.has(place));
    }
  });
  return { width, height, shapes };
}

const round = (number) => Math.round(number * 1000) / 1000;

// Characters that XML cannot hold are left out.
const escaped = (text) => text.replace(/[^\t\n\r\u{20}-\u{D7FF}\u{E000}-\u{FFFD}\u{10000}-\u{10FFFF}]/gu, "")
  .replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;").replaceAll('"', "&quot;");

// `name` is what a screen reader says of the picture.
export function svg({ width, height, shapes }, name) {
  const draw = {
    rect: (one) => `<rect x="${one.x}" y="${one.y}" width="${one.width}" height="${one.height}" fill="${one.fill}" fill-opacity="${one.opacity}"${one.frame ? ` stroke="${one.frame}" stroke-width="2"` : ""}/>`,
    curve: (one) => `<path d="M${one.x} ${one.y}C${(one.x + one.toX) / 2} ${one.y} ${(one.x + one.toX) / 2} ${one.toY} ${one.toX} ${one.toY}" fill="none" stroke="${one.ink}" stroke-opacity="${one.opacity}" stroke-width="${one.width}"/>`,
    text: (one) => `<text x="${one.x}" y="${one.y}" text-anchor="${one.anchor}" fill="${one.fill}" font-size="${one.size}"${one.bold ? ' font-weight="bold"' : ""}${one.underlined ? ' text-decoration="underline"' : ""}>${escaped(one.content)}</text>`,
  };
  return [`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" font-family="${FONT}" role="img">`,
    `<title>${escaped(name)}</title>`,
    ...shapes.map((shape) => draw[shape.kind](shape)), "</svg>", ""].join("\n");
}

export function paint(context, { shapes }) {
  const draw = {
    rect: (one) => {
      context.fillStyle = one.fill;
      context.fillRect(one.x, one.y, one.width, one.height);
      if (!one.frame) return;
      Object.assign(context, { strokeStyle: one.frame, lineWidth: 2 });
      context.strokeRect(one.x, one.y, one.width, one.height);
    },
    curve: (one) => {
      Object.assign(context, { strokeStyle: one.ink, lineWidth: one.width });
      const middle = (one.x + one.toX) / 2;
      context.beginPath();
      context.moveTo(one.x, one.y);
      context.bezierCurveTo(middle, one.y, middle, one.toY, one.toX, one.toY);
      context.stroke();
    },
    text: (one) => {
      Object.assign(context, { fillStyle: one.fill, textAlign: one.anchor, font: `${one.bold ? "bold " : ""}${one.size}px ${FONT}` });
      context.fillText(one.content, one.x, one.y);
      if (!one.underlined) return;
      const { width } = context.measureText(one.content);
      context.fillRect(one.anchor === "end" ? one.x - width : one.x, one.y + 2, width, 1);
    },
  };
  for (const shape of shapes) {
    context.globalAlpha = shape.opacity ?? 1;
    draw[shape.kind](shape);
  }
}
