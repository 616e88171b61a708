// The explorer: what a model looks at in a sentence. The state is in the address, under exBERT's names.

import { explored, linked, Unreachable } from "../api.js";
import { parts } from "../dom.js";
import { Comparison } from "./comparison.js";
import { Controls } from "./controls.js";
import { CorpusCard } from "./corpus.js";
import { counterpart } from "./counterpart.js";
import { SentenceForm } from "./form.js";
import { onKeys } from "./keys.js";
import { MissingCard } from "./missing.js";
import { Multiples } from "./multiples.js";
import { Notices } from "./notices.js";
import { OcclusionCard } from "./occlusion.js";
import { Panel } from "./panel.js";
import { PlaceCard } from "./place.js";
import { KINDS, pictured, save } from "./save.js";
import { query } from "./state.js";

export const id = "explore";
export const path = "explore";
export const start = (panel) => new Explorer(panel);

const SETTLED = 200; // milliseconds after which the address follows

class Explorer {
  constructor(root) {
    this.root = root;
    this.part = parts(root);
    this.visiting = null; // what the address asks for, until its state is here
    const on = (panel) => ({
      pin: (place, side) => this.pin(panel(), place, side), unpin: () => this.unpin(),
      mask: (place) => this.mask(panel(), place),
      head: (head) => { if (!this.controls.headset.disabled && head < this.about.heads) this.controls.toggle(head); },
      drawn: () => { if (panel() === this.main) this.#follow(); },
    });
    this.main = new Panel(this.part.main, on(() => this.main));
    this.comparison = new Comparison(this.part, on(() => this.second), () => this.#computeOther());
    this.second = this.comparison.panel;
    this.form = new SentenceForm(this.part, { ask: () => this.#update(), model: (name) => this.#switch(name, { masks: [] }) });
    this.controls = new Controls(this.part.controls, { change: (changes) => this.change(changes), preview: (head) => this.main.view.preview(head) });
    this.place = new PlaceCard(this.part.place, {
      mask: () => this.mask(this.main, this.state.token), unpin: () => this.unpin(), find: () => this.find(),
    });
    this.multiples = new Multiples(this.part.grid, (layer, head) => {
      this.change({ layer, heads: [head] });
      this.part.main.scrollIntoView({ block: "nearest" });
    });
    this.occlusion = new OcclusionCard(this.part.occlusion);
    this.corpus = new CorpusCard(this.part.corpus);
    this.notices = new Notices(this.part.notices);
    this.missing = new MissingCard(this.part.missing, this.part.status, async () => {
      await this.#switch(this.known.default);
      if (this.isCurrent) this.main.view.focus(this.pinned ?? { place: 1, side: "left" }); // the button is gone
    });
    this.#listen();
  }

  // What the address asks for: from a link, a reload, or the browser's back and forward.
  async visit() {
    this.#await(null); // whatever was asked for before
    if (this.main.shown && location.search === new URL(path + this.query(), document.baseURI).search) return;
    await this.#open(location.search);
  }

  // Shows what a query says, fitted to the model it names.
  async #open(search) {
    const asked = {};
    this.#await(asked);
    let found;
    try {
      this.known ??= await explored();
      found = await linked(search);
    } catch (error) {
      if (asked === this.visiting) this.#fail(error);
    }
    if (!found || asked !== this.visiting) return;
    this.#await(null);
    for (const panel of [this.main, this.second]) panel.stop();
    if (this.other && this.state.sentence !== found.state.sentence) this.other.masks = [];
    this.state = found.state;
    this.notices.ofLink = found.notices;
    this.part.error.hidden = true;
    this.#method(this.method);
    this.form.fill(this.state, this.known, this.about);
    if (this.about) this.controls.fit(this.about.layers, this.about.heads);
    this.notices.show();
    if (found.missing) this.#miss(found.missing);
    else await this.compute();
    if (this.isCurrent && this.pinned) this.main.view.reveal(this.pinned);
  }

  // Meanwhile the address is not touched.
  #await(asked) {
    this.visiting = asked;
    clearTimeout(this.settling);
  }

  query() { return this.state ? query(this.state, this.#headsOf(this.state.model ?? this.known.default)) : ""; }

  #headsOf(model) { return this.known.models.find(({ name }) => name === model).heads; }

  get method() { return this.state?.method ?? "raw"; }
  get other() { return this.comparison.other; }
  get about() { return this.known.models.find(({ name }) => name === this.state.model); }
  get pinned() { return this.state.token === null ? null : { place: this.state.token, side: this.state.side }; }
  get shownState() {
    const { layer, heads, threshold, hide_special: hideSpecial } = this.state;
    return { layer, heads, threshold, hideSpecial };
  }

  // Whether what a panel shows, if anything, is of the sentence and model of now: another may have been asked for.
  #isOf(panel, model) {
    const { request } = panel, { sentence: text, sentence_b: second } = this.state;
    return request !== null && request.model === model && request.text === text && request.text_b === second;
  }

  get attention() { return { layer: this.state.layer, heads: this.state.heads }; }
  get isCurrent() { return this.#isOf(this.main, this.state.model); }
  get isOtherCurrent() { return this.other !== null && this.#isOf(this.second, this.other.model); }

  // Asks the service for the sentence as it is masked now, and shows it.
  async compute() {
    await this.try(async () => {
      const { state, about } = this, notices = [];
      if (state.sentence_b !== null && !about.pairs) {
        notices.push("this model reads one sentence at a time; the second is left out");
        state.sentence_b = null;
        this.form.fill(state, this.known, about);
      }
      this.missing.hide();
      this.#forget();
      this.part.status.textContent = "Computing …";
      const began = performance.now();
      this.main.rolling = this.method === "rollout";
      const request = { model: state.model, text: state.sentence, text_b: state.sentence_b, masks: state.masks, predictions: true };
      if (!(await this.main.ask(request, about)) || state !== this.state) return;
      this.#forget(); // what was asked of the picture before
      state.masks = this.main.masks;
      notices.push(...this.main.plain.header.notices);
      if (state.token !== null && state.token >= this.main.tokens.length) {
        notices.push(`the sentence has ${this.main.tokens.length} word pieces; the pinned place, ${state.token}, is none`);
        state.token = null;
      }
      this.notices.show(notices);
      if (this.main.tokens.every(({ special }) => special)) {
        this.#hide();
        this.part.status.textContent = "The sentence has no words: write some.";
        return;
      }
      this.part.explored.hidden = false;
      this.part.status.textContent = `${this.main.tokens.length} word pieces, ${about.layers} layers of ${about.heads} heads (${Math.round(performance.now() - began)} ms)`;
      this.#apply();
      if (this.method === "occlusion") this.#occlude();
      if (this.other) await this.#computeOther();
    }, (error) => this.#failed(error));
  }

  // What was found of a place, before something else is computed.
  #forget() {
    this.corpus.clear();
    this.occlusion.clear();
    this.place.part.find.disabled = true;
  }

  // What is of this sentence stays where nobody answered. After another failure raw attention is next: it asks for less.
  #failed(error) {
    if (error instanceof Unreachable && this.isCurrent) {
      this.state.masks = this.main.masks;
      this.#apply();
      return;
    }
    this.#hide();
    if (this.method === "rollout") this.#method("raw");
  }

  // Nothing is shown that is of another question.
  #hide() {
    const { part } = this;
    this.main.clear();
    if (part.explored.contains(document.activeElement)) this.form.focus();
    part.explored.hidden = true;
  }

  // Changes that need no service, but for methods that follow the pinned place.
  change({ hideSpecial, ...changes }) {
    if (hideSpecial !== undefined) this.state.hide_special = hideSpecial;
    Object.assign(this.state, changes);
    this.#apply();
  }

  // The place of a panel; in the second, what has the same characters in the first, if there is such a piece.
  pin(panel, place, side) {
    if (!this.isCurrent || (panel === this.second && !this.isOtherCurrent)) return;
    const token = panel === this.main ? place : counterpart(panel.tokens[place], this.main.tokens);
    if (token === null) {
      this.part.status.textContent = `${panel.tokens[place].piece} is no piece of the first model, so it cannot be pinned.`;
      return;
    }
    const piece = this.main.tokens[token];
    this.#pinned({ token, side }, `Pinned ${piece.masked ? "[MASK]" : piece.piece}, place ${token}.`);
  }

  // The focus goes from the card, which has nothing more to say, to the piece.
  unpin() {
    if (!this.isCurrent) return;
    const left = this.part.place.contains(document.activeElement) ? this.pinned : null;
    this.#pinned({ token: null }, "Nothing is pinned.");
    if (left) this.main.view.focus(left);
  }

  #pinned(changes, said) {
    Object.assign(this.state, changes);
    this.part.status.textContent = said;
    this.corpus.clear();
    this.#apply();
    if (this.method === "occlusion") this.#occlude();
  }

  async mask(panel, place) {
    const isMain = panel === this.main;
    if (!this.isCurrent || (!isMain && !this.isOtherCurrent)) return;
    if (panel.tokens[place].special) {
      this.part.status.textContent = `${panel.tokens[place].piece} cannot be masked.`;
      return;
    }
    const masks = new Set(isMain ? this.state.masks : this.other.masks); // those that were asked for, answered or not
    if (!masks.delete(place)) masks.add(place);
    (isMain ? this.state : this.other).masks = [...masks].sort((one, other) => one - other);
    await (isMain ? this.compute() : this.#computeOther());
  }

  find() { this.corpus.find(this.main, this.pinned, this.about, this.attention); }

  // What goes wrong is said; `hide` what cannot be shown then.
  async try(work, hide = () => {}) {
    this.part.error.hidden = true;
    try {
      await work();
    } catch (error) {
      hide(error);
      this.#say(error);
    }
  }

  #say(error) {
    this.part.status.textContent = "";
    this.part.error.textContent = error.message;
    this.part.error.hidden = false;
  }

  // The address cannot be followed.
  #fail(error) {
    this.#await(null);
    this.main.stop();
    this.#failed(null);
    this.#say(error);
  }

  #listen() {
    const { part } = this;
    onKeys(() => [this.main.view, this.second.view], {
      unpin: () => { if (this.state && this.pinned) this.unpin(); },
      mask: () => {
        const panel = [this.main, this.second].find(({ view }) => view.active); // what is pinned, or else pointed at
        if (panel) this.mask(panel, panel.view.active.place);
      },
    }, () => !this.root.hidden);
    part.comparison.onclick = () => this.compare(!this.other);
    for (const radio of part.methods.querySelectorAll("input")) radio.onchange = () => this.#choose(radio.value);
    part.everything.ontoggle = () => this.#apply();
    for (const kind of KINDS) {
      part[`save-${kind}`].onclick = () => this.try(async () => {
        part.status.textContent = "Saving …";
        part.status.textContent = await save(kind, this.#pictures(), this.occlusion.table);
      });
    }
  }

  // Another sentence begins anew, and is a step of the browser's history.
  async #update() {
    const { state, form: { sentence, second } } = this;
    if (!state) return this.visit();
    this.#await(null);
    if (sentence !== state.sentence || second !== state.sentence_b) {
      Object.assign(state, { sentence, sentence_b: second, token: null, masks: [] });
      this.notices.ofLink = [];
      history.pushState(null, "", path + this.query());
      if (this.other) this.other.masks = [];
    }
    const chosen = this.part.model.value; // perhaps just now, with the answer still on its way
    if (chosen && chosen !== state.model) await this.#switch(chosen, { masks: [] });
    else if (state.model) await this.compute();
    else this.part.status.textContent = `${state.asked} is not served here: choose a model.`;
  }

  // Another model: the state is fitted to it, as that of a link is. From a link that names none the way back stays open.
  #switch(name, changes = {}) {
    const heads = this.#headsOf(this.state.model ?? this.known.default);
    const search = query({ ...this.state, ...changes, model: name, asked: name }, heads);
    if (!this.state.model) history.pushState(null, "", path + search);
    return this.#open(search);
  }

  async #choose(method) {
    this.#method(method);
    this.occlusion.clear();
    if (this.isCurrent && method === "occlusion") this.#occlude();
    const panels = [this.main, ...(this.other ? [this.second] : [])];
    await this.try(() => Promise.all(panels.map(async (panel) => {
      if (await panel.show(method === "rollout")) this.#apply();
    })), () => {
      this.#method("raw"); // which needs no answer
      for (const panel of panels) panel.show(false);
      this.#apply();
    });
  }

  #method(method) {
    const { part } = this;
    if (this.state) this.state.method = method;
    for (const radio of part.methods.querySelectorAll("input")) radio.checked = radio.value === method;
    for (const about of part.about.children) about.hidden = about.dataset.method !== method;
    this.controls.roll(method === "rollout");
    part.occlusion.hidden = method !== "occlusion";
  }

  // What is said of the picture beside it.
  #follow() {
    this.place.link(this.main, this.pinned);
    this.corpus.follow(this.attention);
    const seen = JSON.stringify([this.state.layer, this.state.heads, this.state.hide_special]);
    if (this.method === "occlusion" && seen !== this.seen) this.occlusion.refresh();
    this.seen = seen;
  }

  #occlude() { this.occlusion.show(this.main, this.pinned, this.about); }

  // The second panel: another model, or the same sentence with other masks.
  async compare(wanted) {
    const { state } = this;
    this.comparison.begin(wanted, this, state.token !== null && !this.main.tokens[state.token].special && !state.masks.includes(state.token));
    this.#apply();
    if (wanted) await this.#computeOther();
  }

  async #computeOther() {
    await this.try(async () => {
      if (await this.comparison.ask(this.state, this.known, this.method === "rollout")) this.#apply();
    }, () => this.comparison.hide());
  }

  // Brings everything that is seen in line with the state.
  #apply() {
    const { state, part } = this;
    this.controls.set(this.shownState);
    if (!this.isCurrent) return; // the answer to come will be followed
    for (const { part: { whose } } of [this.place, this.occlusion]) whose.textContent = this.other ? `, in ${state.model}, the first model` : "";
    this.#set(this.main, this.pinned);
    if (this.other && this.second.shown) {
      const place = this.pinned && counterpart(this.main.tokens[state.token], this.second.tokens);
      this.#set(this.second, place === null ? null : { place, side: state.side });
    }
    this.place.show(this.main, this.pinned, state.heads.length > 0 && !this.main.isBusy);
    part.form.dataset.state = JSON.stringify(state);
    if (part.everything.open) {
      this.multiples.show(this.main.plain.maps, state.hide_special ? this.main.view.special : []);
      this.multiples.mark(state.layer, state.heads);
    }
    if (this.visiting) return;
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      if (document.body.dataset.tab === id) history.replaceState(null, "", path + this.query());
    }, SETTLED);
  }

  // A panel of another model may have fewer layers and heads, rolled out attention has one.
  #set(panel, pinned) {
    const { layers, heads } = panel.shown.maps, { state } = this;
    const all = [...Array(heads).keys()];
    const chosen = state.heads.length === this.about.heads || panel.isRolled ? all : state.heads.filter((head) => head < heads);
    panel.view.set({ layer: Math.min(state.layer, layers - 1), heads: chosen, threshold: state.threshold, hideSpecial: state.hide_special, pinned });
  }

  #miss(missing) {
    this.main.clear();
    this.part.explored.hidden = true;
    this.part.status.textContent = "";
    this.missing.show(missing, this.known.default);
  }

  // What is saved.
  #pictures() {
    const { state } = this, text = [state.sentence, state.sentence_b].filter(Boolean).join(" / ");
    return [pictured(this.main, state.model, text), ...(this.other && this.second.shown ? [pictured(this.second, this.other.model, text)] : [])];
  }
}
