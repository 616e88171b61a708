// Occlusion beside raw attention: each word, how much the pinned place attends to it, and what hiding it does to the answer.

import { occlusion } from "../api.js";
import { element, parts } from "../dom.js";

export class OcclusionCard {
  constructor(root) {
    this.root = root;
    this.part = parts(root);
    this.part.answer.onchange = () => this.show(this.panel, this.pinned, this.kind, this.part.answer.value || null);
  }

  // What is shown, if anything.
  get table() { return this.part.table.firstChild; }

  // Forgets what was asked and found; the choice of an answer stays where it is what asks anew.
  clear(choice = false) {
    this.asking?.abort();
    Object.assign(this, { asking: null, found: null });
    this.part.result.hidden = !choice;
    this.part.table.replaceChildren();
    this.part.status.textContent = "";
  }

  // Asks and shows; `kind` is the model's, `{kind, level, labels, problem}`. Words of a text are hidden one by one, which takes a while.
  async show(panel, pinned, kind, answer = null) {
    const choice = panel === this.panel && this.asked === panel.request && pinned?.place === this.pinned?.place && !this.part.result.hidden;
    this.root.style.minHeight = `${this.root.offsetHeight}px`; // what is clicked twice, below, must not move between
    this.clear(choice);
    Object.assign(this, { panel, pinned, kind, asked: panel.request });
    const token = pinned && panel.tokens[pinned.place];
    const ofText = kind.level === "text";
    const refusal = kind.kind === "encoder" ? "This model has no head, so there is no answer that hiding a word could change."
      : !ofText && (!token || token.special) ? "Pin a word: what the model says at its place is followed." : "";
    this.part.status.textContent = refusal || "Hiding one word after another …";
    if (refusal) {
      this.part.result.hidden = true;
      this.root.style.minHeight = "";
      return;
    }
    const asking = (this.asking = new AbortController());
    try {
      const found = await occlusion({ ...withoutPredictions(panel.request), place: ofText ? null : pinned.place, answer, words: true }, asking.signal);
      if (asking === this.asking) this.#show(found, answer);
    } catch (error) {
      if (asking !== this.asking) return;
      this.part.status.textContent = error.message;
      this.root.style.minHeight = "";
    }
  }

  // Attention again, after another layer or other heads were chosen.
  refresh() {
    if (this.found) this.#show(this.found, this.answer);
  }

  #show(found, answer) {
    Object.assign(this, { found, answer });
    const { panel, pinned, kind } = this;
    this.part.status.textContent = kind.problem === "regression" ? `The score is ${found.before.toFixed(3)}.`
      : `“${found.answer}” has the probability ${share(Math.exp(found.before))}${panel.plain.header.guesses ? " with [MASK] at the pinned place" : ""}.`;
    const choices = this.#answers(found.answer);
    this.part.answer.replaceChildren(new Option("the most likely answer", ""), ...choices.map((one) => new Option(one)));
    this.part.answer.value = answer ?? "";
    const from = pinned?.place ?? 0; // of a class without a pinned place, [CLS]
    const links = new Map(panel.view.links({ place: from, side: "left" }).map(({ place, weight }) => [place, weight]));
    const sum = (places) => places.reduce((total, place) => total + (links.get(place) ?? 0), 0);
    const rows = found.places.map((places, number) => ({ places, attention: sum(places), change: found.changes[number] }));
    const most = { attention: Math.max(...rows.map((row) => row.attention), Number.MIN_VALUE), change: Math.max(...rows.map((row) => Math.abs(row.change)), Number.MIN_VALUE) };
    const attention = `Attention from ${panel.tokens[from].masked ? "[MASK]" : panel.tokens[from].piece}`;
    const head = ["Word hidden", attention, "Change of the answer"].map((textContent) => element("th", { scope: "col", textContent }));
    head[1].append(element("small", { textContent: `, ${panel.view.measure}` }));
    this.part.table.replaceChildren(element("table", {}, element("thead", {}, element("tr", {}, ...head)),
      element("tbody", {}, ...rows.map((row) => this.#row(row, most)))));
    this.part.result.hidden = false;
    this.root.style.minHeight = "";
  }

  #answers(first) {
    const { panel, pinned, kind } = this;
    if (kind.labels?.length) return kind.labels;
    const guesses = panel.plain.header.guesses?.[pinned.place].map(([, piece]) => piece) ?? [];
    return [...new Set([panel.tokens[pinned.place].piece, first, ...guesses])];
  }

  #row({ places, attention, change }, most) {
    const { panel, pinned } = this;
    const word = places.map((place) => panel.tokens[place].piece.replace(/^##/, "")).join("");
    const own = places.includes(pinned?.place);
    const row = element("tr", {}, element("th", { scope: "row" }, word, own ? element("small", { textContent: " pinned" }) : ""));
    const cell = (text, first, last, name) => { // a bar between two shares of its track
      const bar = element("i", { className: name });
      Object.assign(bar.style, { width: `${100 * (last - first)}%`, marginLeft: `${100 * first}%` });
      return element("td", {}, element("span", { textContent: text }), element("div", { className: "track", "aria-hidden": "true" }, bar));
    };
    row.append(cell(attention.toFixed(3), 0, attention / most.attention, "attention-bar"));
    const signed = `${change > 0 ? "+" : change < 0 ? "−" : ""}${Math.abs(change).toFixed(3)}`;
    const end = 0.5 + change / most.change / 2;
    row.append(cell(signed, Math.min(0.5, end), Math.max(0.5, end), change < 0 ? "for" : "against"));
    return row;
  }
}

const share = (probability) => (probability < 0.001 ? probability.toExponential(1) : probability.toFixed(3));
const withoutPredictions = (request) => ({ ...request, predictions: false });
