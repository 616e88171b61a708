// Attention as exBERT drew it: two columns of word pieces with curves between them, and outside the heads as heat maps.

import { element } from "../dom.js";
import { Ink } from "./ink.js";
import { UNIT, ranked, strongest } from "./maps.js";

export const ROW = 24; // CSS pixels: what a finger can hit
const OTHER = { left: "right", right: "left" };
const ROLE = { left: "attends", right: "is attended to" };
const ROLLED = { left: "takes from others", right: "is taken from" };

export class AttentionView {
  // `on` may have `pin(place, side)`, `unpin()`, `mask(place)` and `head(head)`, called when the reader does so.
  constructor(root, on = {}) {
    this.root = root;
    this.on = on;
    this.answer = null;
    this.chosen = { layer: 0, heads: [], threshold: 0.7, hideSpecial: true, pinned: null };
    this.hover = null;
    this.alone = null;
    this.#build();
    new ResizeObserver(() => this.#refresh()).observe(this.between);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#refresh());
  }

  // What is looked into: an answer of the service, and marks: by place, `{kind, label}` of the entity there.
  show(answer, marks = new Map()) {
    this.answer = answer;
    this.sum = null;
    this.tokens = answer.header.tokens;
    this.special = this.tokens.flatMap((token, place) => (token.special ? [place] : []));
    this.hover = this.alone = null; // what is pointed at may be gone
    this.dismiss();
    for (const title of this.titles) title.textContent = this.isRolled ? "rollout" : "heads";
    for (const side of ["left", "right"]) {
      this.columns[side].ariaLabel = `Word pieces: each ${(this.isRolled ? ROLLED : ROLE)[side]}`;
      this.#fill(side, marks);
    }
    this.#refresh(true);
  }

  // Layer, heads, threshold, hideSpecial and pinned, a `{place, side}` or null.
  set(changes) {
    const stale = ["layer", "heads", "hideSpecial"].some((name) => name in changes);
    Object.assign(this.chosen, changes);
    this.#refresh(stale);
  }

  // One head instead of those chosen, while it is pointed at; null ends that.
  preview(head) {
    const alone = head < this.answer?.maps.heads ? head : null;
    if (this.alone === alone) return;
    this.alone = alone;
    this.#refresh(true);
  }

  // Closes what popped up; false if nothing had.
  dismiss() {
    const had = !this.popup.hidden || !this.bubble.hidden;
    this.popup.hidden = this.bubble.hidden = true;
    return had;
  }

  focus({ place, side }) { this.columns[side].children[place]?.focus(); }

  // Brings a piece that is beyond the window into its middle.
  reveal({ place, side }) {
    const piece = this.columns[side].children[place], { top, bottom } = piece.getBoundingClientRect();
    if (top < 0 || bottom > innerHeight) piece.scrollIntoView({ block: "center" });
  }

  get hidden() { return this.chosen.hideSpecial ? this.special : []; }
  get active() { return this.chosen.pinned ?? this.hover; }
  get heads() { return this.alone === null ? this.chosen.heads : [this.alone]; }

  // Indices [from * T + to] of the edges that are drawn.
  edges() {
    const size = this.tokens.length, active = this.active;
    const found = strongest(this.sum, this.order, size, this.chosen.threshold);
    if (!active) return found;
    const end = active.side === "left" ? (at) => Math.floor(at / size) : (at) => at % size;
    return found.filter((at) => end(at) === active.place);
  }

  // Of the sum of the heads the mean: what a reader takes a number for.
  #mean(at) { return this.sum[at] / UNIT / Math.max(this.heads.length, 1); }

  get isRolled() { return Boolean(this.answer?.header.rolled); }

  // What the numbers of `links` are.
  get measure() {
    if (this.isRolled) return "in the rollout";
    return this.heads.length === 1 ? `of head ${this.heads[0] + 1}` : "mean of the chosen heads";
  }

  // What is active gets from, or gives to, each place of the other side, the most first: `{place, weight}`, which are
  // means of the heads.
  links(active = this.active) {
    const size = this.tokens.length;
    if (!active || !this.answer) return [];
    if (this.stale) this.#sumUp(); // a page in the background draws no frames
    const at = (place) => (active.side === "left" ? active.place * size + place : place * size + active.place);
    return this.tokens.map((_, place) => ({ place, weight: this.#mean(at(place)) }))
      .sort((one, other) => other.weight - one.weight);
  }

  heat(side) {
    const chosen = this.active?.side === OTHER[side] ? this.active.place : null;
    return this.answer.maps.heat(this.chosen.layer, side, this.hidden, chosen);
  }

  // Between 0 and 1: of the largest that is drawn.
  strength(at) { return this.most ? this.sum[at] / this.most : 0; }

  #build() {
    this.heats = {}, this.columns = {};
    for (const side of ["left", "right"]) {
      this.heats[side] = element("canvas", { className: `heat ${side}`, role: "img" });
      this.columns[side] = element("div", { className: `tokens ${side}`, role: "group" });
      this.#point(side);
    }
    this.between = element("canvas", { className: "curves", "aria-hidden": "true" });
    this.ink = new Ink(this.between, () => { this.root.dataset.drawn = this.root.dataset.curves; });
    this.popup = element("div", { className: "popup", hidden: true });
    this.bubble = element("div", { className: "bubble", hidden: true });
    const title = (text, side) => element("div", { className: `title ${side}`, textContent: text });
    this.titles = [title("", "outer"), title("", "outer")];
    this.root.classList.add("attention");
    this.root.replaceChildren(
      this.titles[0], title("from", "left"), title("", "middle"), title("to", "right"), this.titles[1],
      this.heats.left, this.columns.left, this.between, this.columns.right, this.heats.right, this.popup, this.bubble);
    this.popup.addEventListener("pointerleave", (event) => this.#leave(event));
    this.root.addEventListener("keydown", (event) => this.#key(event));
  }

  #fill(side, marks) {
    const focused = this.columns[side].contains(document.activeElement) ? placeOf(document.activeElement) : null;
    this.columns[side].replaceChildren(...this.tokens.map((token, place) => {
      const mark = marks.get(place);
      const piece = token.masked ? "[MASK]" : token.piece;
      const names = [piece, token.masked ? `instead of ${token.piece}` : "", mark ? mark.label : "", `place ${place}`];
      const button = element("button", { type: "button", tabIndex: -1, ariaLabel: names.filter(Boolean).join(", "), title: token.masked ? `instead of ${token.piece}` : "" },
        element("span", { textContent: piece }));
      button.dataset.place = place;
      button.classList.toggle("masked", token.masked);
      button.classList.toggle("second", place > 0 && token.text !== this.tokens[place - 1].text);
      if (mark) {
        button.classList.add("entity", `kind-${mark.kind}`);
        if (mark.label) button.append(element("small", { textContent: mark.label }));
      }
      return button;
    }));
    const first = this.columns[side].children[focused ?? this.chosen.pinned?.place ?? 1] ?? this.columns[side].firstChild;
    first.tabIndex = 0; // of a column one piece is in the order of tabs; arrows lead to the others
    if (focused !== null) first.focus();
  }

  // What pointing, clicking and focus do in a column and its heat map.
  #point(side) {
    const column = this.columns[side], heat = this.heats[side];
    const over = (event, found) => { if (event.pointerType === "mouse") this.#hover(found); };
    column.addEventListener("pointerover", (event) => {
      const place = placeOf(event.target);
      if (place !== null) over(event, { place, side });
    });
    column.addEventListener("pointerleave", (event) => this.#leave(event));
    column.addEventListener("focusin", (event) => {
      for (const button of column.children) button.tabIndex = button === event.target ? 0 : -1;
      if (event.target.matches(":focus-visible")) this.#hover({ place: placeOf(event.target), side });
    });
    column.addEventListener("focusout", () => this.#hover(null));
    column.addEventListener("click", (event) => {
      const place = placeOf(event.target), pinned = this.chosen.pinned;
      if (place === null) return;
      if (event.detail === 1) this.before = pinned;
      if (pinned?.place === place && pinned.side === side) this.on.unpin?.();
      else this.on.pin?.(place, side);
    });
    column.addEventListener("dblclick", (event) => {
      const place = placeOf(event.target);
      if (place === null || !this.on.mask) return;
      if (this.before) this.on.pin(this.before.place, this.before.side); // the two clicks were not meant to pin
      else this.on.unpin();
      this.on.mask(place);
    });
    const head = (event) => Math.floor((event.offsetX / heat.clientWidth) * this.answer.maps.heads);
    const place = (event) => Math.floor(event.offsetY / ROW);
    heat.addEventListener("pointermove", (event) => this.#overHead(side, head(event), place(event)));
    heat.addEventListener("pointerleave", () => this.#overHead(side, null));
    heat.addEventListener("click", (event) => this.on.head?.(head(event)));
  }

  // The pop-up stays while the pointer is on it.
  #leave({ pointerType, relatedTarget: to }) {
    const { popup, columns } = this;
    if (pointerType === "mouse" && ![popup, columns.left, columns.right].some((one) => one.contains(to))) this.#hover(null);
  }

  #overHead(side, head, place) {
    const inside = head !== null && head >= 0 && head < this.answer.maps.heads && place < this.tokens.length;
    this.preview(inside ? head : null);
    this.bubble.hidden = !inside;
    if (!inside) return;
    const value = this.heat(side)[place * this.answer.maps.heads + head];
    this.bubble.textContent = `${this.isRolled ? "Rollout" : `Head ${head + 1}`}: ${value.toFixed(4)}`;
    const heat = this.heats[side];
    const middle = heat.offsetLeft + ((head + 0.5) / this.answer.maps.heads) * heat.offsetWidth;
    const width = this.bubble.offsetWidth;
    this.bubble.style.left = `${Math.max(0, Math.min(middle - width / 2, this.root.clientWidth - width))}px`;
    this.bubble.style.top = `${heat.offsetTop + Math.max(0, place - 1.6) * ROW}px`;
  }

  #hover(found) {
    if (found?.place === this.hover?.place && found?.side === this.hover?.side) return;
    this.hover = found;
    this.#predict();
    this.#refresh();
  }

  // The pop-up of a place that is pointed at.
  #predict() {
    const guesses = this.hover && this.answer.header.guesses?.[this.hover.place];
    this.popup.hidden = !guesses;
    if (!guesses) return;
    this.popup.replaceChildren(element("b", { textContent: "would predict here" }), element("ol", {},
      ...guesses.map(([, piece, share]) => element("li", {},
        element("span", { textContent: piece }), element("span", { textContent: share.toFixed(2) })))));
    const { offsetTop, offsetHeight } = this.between, { left: from, right: to } = this.columns;
    const { offsetWidth: width, offsetHeight: height } = this.popup;
    // No gap to the column, so that the pointer can go there.
    const left = this.hover.side === "left" ? from.offsetLeft + from.offsetWidth : to.offsetLeft - width;
    this.popup.style.left = `${Math.max(0, Math.min(left, this.root.clientWidth - width))}px`;
    this.popup.style.top = `${offsetTop + Math.max(0, Math.min(this.hover.place * ROW, offsetHeight - height))}px`;
  }

  #key(event) {
    const place = placeOf(event.target);
    if (place === null || event.ctrlKey || event.metaKey || event.altKey) return;
    const side = event.target.closest(".left") ? "left" : "right";
    const last = this.tokens.length - 1;
    const goals = {
      ArrowUp: [side, Math.max(place - 1, 0)], ArrowDown: [side, Math.min(place + 1, last)], Home: [side, 0], End: [side, last],
      ArrowLeft: ["left", place], ArrowRight: ["right", place],
    };
    if (event.key in goals) {
      const [column, goal] = goals[event.key];
      this.columns[column].children[goal].focus();
    } else if (event.key.toLowerCase() === "m") this.on.mask?.(place);
    else return;
    event.preventDefault();
  }

  // Draws in the next frame; `stale` if other attentions are to be added up.
  #refresh(stale = false) {
    this.stale ||= stale;
    this.frame ??= requestAnimationFrame(() => {
      this.frame = null;
      if (this.answer && this.between.clientWidth) this.#draw();
    });
  }

  #sumUp() {
    this.sum = this.answer.maps.sum(this.chosen.layer, this.heads, this.hidden);
    this.order = ranked(this.sum, this.tokens.length);
  }

  #draw() {
    const began = performance.now();
    if (this.stale) this.#sumUp();
    const edges = this.edges(), active = this.active;
    this.most = edges.reduce((most, at) => Math.max(most, this.sum[at]), 0);
    const heat = JSON.stringify([this.chosen.layer, this.chosen.hideSpecial, this.chosen.heads, this.alone, active]);
    if (this.stale || heat !== this.drawnHeat) for (const side of ["left", "right"]) this.#drawHeat(side);
    this.drawnHeat = heat;
    this.stale = false;
    this.#mark(edges);
    this.#say(edges);
    this.#drawCurves(edges);
    this.root.dataset.milliseconds = (performance.now() - began).toFixed(2);
    this.on.drawn?.();
  }

  // The places of the other side that edges lead to from what is active.
  linked(edges) {
    const size = this.tokens.length, active = this.active;
    return new Set(active ? edges.map((at) => (active.side === "left" ? at % size : Math.floor(at / size))) : []);
  }

  // What is drawn, for whoever reads the page by a program.
  #say(edges) {
    const size = this.tokens.length, active = this.active;
    const link = (at) => `${Math.floor(at / size)}>${at % size}:${this.#mean(at).toFixed(6)}`;
    Object.assign(this.root.dataset, {
      layer: this.chosen.layer + 1, heads: this.heads.map((head) => head + 1).join(" "), curves: edges.length,
      active: active ? `${active.side} ${active.place}` : "", links: active ? edges.map(link).join(" ") : "",
    });
  }

  // The pieces that are pinned, linked to what is active, or hidden.
  #mark(edges) {
    const { pinned } = this.chosen, active = this.active;
    const hidden = new Set(this.hidden), linked = this.linked(edges);
    for (const [side, column] of Object.entries(this.columns)) {
      [...column.children].forEach((button, place) => {
        const isPinned = pinned?.place === place && pinned.side === side;
        button.ariaPressed = String(isPinned);
        button.classList.toggle("active", active?.place === place && active.side === side);
        button.classList.toggle("linked", Boolean(active) && active.side !== side && linked.has(place));
        button.classList.toggle("faint", hidden.has(place));
      });
    }
  }

  // One pixel for each place and head, which the style sheet makes large.
  #drawHeat(side) {
    const canvas = this.heats[side], { heads } = this.answer.maps, values = this.heat(side);
    Object.assign(canvas, { width: heads, height: this.tokens.length });
    canvas.style.height = `${this.tokens.length * ROW}px`;
    const about = this.active?.side === OTHER[side] ? `${this.active.side === "left" ? "from" : "to"} place ${this.active.place}` : `${side === "left" ? "from" : "to"} each place`;
    canvas.ariaLabel = this.isRolled ? `Rollout ${about}` : `Attention ${about}, by head`;
    const context = canvas.getContext("2d");
    const image = context.createImageData(heads, this.tokens.length);
    const [red, green, blue] = rgb(context, this.#colour("--heat"));
    const most = values.reduce((larger, one) => Math.max(larger, one), 0);
    const chosen = new Set(this.heads);
    values.forEach((value, at) => {
      const share = most ? value / most : 0;
      image.data.set([red, green, blue, 255 * share * (chosen.has(at % heads) ? 1 : 0.35)], 4 * at);
    });
    context.putImageData(image, 0, 0);
  }

  #drawCurves(edges) {
    const size = this.tokens.length, middle = (place) => (place + 0.5) * ROW;
    const curves = edges.map((at) => {
      const strength = this.strength(at);
      return { from: middle(Math.floor(at / size)), to: middle(at % size), strength, thickness: thickness(strength) };
    });
    this.between.style.height = `${size * ROW}px`;
    this.root.dataset.drawn = "";
    this.ink.draw(curves, size * ROW, this.#colour(this.active ? "--chosen" : "--curve"));
  }

  #colour(name) { return getComputedStyle(this.root).getPropertyValue(name).trim(); }
}

// Of a curve in pixels, by its strength.
export const thickness = (strength) => 2.5 * strength ** 0.33;

function placeOf(target) {
  const place = target.closest?.("[data-place]")?.dataset.place;
  return place === undefined ? null : Number(place);
}

function rgb(context, colour) {
  context.fillStyle = colour; // which reads back as #rrggbb
  return [1, 3, 5].map((at) => parseInt(context.fillStyle.slice(at, at + 2), 16));
}
