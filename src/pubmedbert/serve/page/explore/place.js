// The card of the pinned place: what the model would write there, what it looks at, and what can be done with it.

import { element, parts } from "../dom.js";
import { bars } from "./bars.js";

const LINKS = 5;
const SMALL = "(max-width: 60rem)"; // as in explore.css
const FOLDED = "pubmedbert place folded";

export class PlaceCard {
  // `on.mask()`, `on.unpin()` and `on.find()` are what its buttons do.
  constructor(root, on) {
    this.root = root;
    this.part = parts(root);
    this.part.mask.onclick = () => on.mask();
    this.part.unpin.onclick = () => on.unpin();
    this.part.find.onclick = () => on.find();
    this.part.fold.onclick = () => {
      this.#fold(!this.root.classList.contains("folded"));
      remembered(this.root.classList.contains("folded"));
    };
    this.#fold((remembered() ?? String(matchMedia(SMALL).matches)) === "true");
  }

  // On a small screen the card lies over the picture, and is small until it is made large; what was chosen stays.
  #fold(folded) {
    this.root.classList.toggle("folded", folded);
    this.part.fold.ariaExpanded = String(!folded);
    this.part.fold.textContent = folded ? "More" : "Less";
  }

  // `isFindable`: whether the corpus can be asked for what is pinned now.
  show(panel, pinned, isFindable) {
    this.part.find.disabled = !isFindable;
    this.part.free.hidden = Boolean(pinned);
    this.part.pinned.hidden = !pinned;
    this.root.classList.toggle("pinned", Boolean(pinned));
    if (!pinned) return;
    const { guesses, says } = panel.plain.header, token = panel.tokens[pinned.place];
    this.part.piece.textContent = token.masked ? "[MASK]" : token.piece;
    this.part.where.textContent = `place ${pinned.place}${token.masked ? `, instead of ${token.piece}` : ""}`;
    this.part.mask.hidden = token.special;
    this.part.mask.textContent = token.masked ? "Unmask" : "Mask";
    this.part.find.hidden = token.special;
    const best = guesses?.[pinned.place].map(([, piece, share]) => [piece, share]);
    const entity = says?.entities?.find(({ places }) => places.includes(pinned.place));
    this.part.guesses.replaceChildren(...(best ? [element("h3", { textContent: "Would predict here" }), bars(best, { most: 1 })]
      : entity ? [element("p", {}, "In the entity ", element("b", { textContent: entity.text }), `: ${entity.entity || "entity"} ${entity.score.toFixed(2)}`)] : []));
    this.link(panel, pinned);
  }

  // What it looks at, or is looked at from, in the layer and heads that are chosen.
  link(panel, pinned) {
    if (!pinned) return;
    const links = panel.view.links().slice(0, LINKS).filter(({ weight }) => weight > 0);
    const name = ({ place }) => (panel.tokens[place].masked ? "[MASK]" : panel.tokens[place].piece);
    const [to, by] = panel.view.isRolled ? ["Takes most from", "Is taken most by"] : ["Attends most to", "Is attended to most by"];
    this.part.links.replaceChildren(...(links.length ? [
      element("h3", {}, pinned.side === "left" ? to : by, element("small", { textContent: `, ${panel.view.measure}` })),
      bars(links.map((link) => [name(link), link.weight])),
      ...(pinned.side === "right" && !panel.view.isRolled ? [element("p", { className: "hint", textContent: "A curve is drawn where it is among the largest shares of the piece that attends." })] : []),
    ] : []));
  }
}

// Whether the card is folded; a browser may keep nothing.
function remembered(folded) {
  try {
    if (folded !== undefined) localStorage.setItem(FOLDED, folded);
    return localStorage.getItem(FOLDED);
  } catch {
    return null;
  }
}
