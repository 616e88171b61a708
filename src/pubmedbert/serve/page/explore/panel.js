// One sentence in one model: its question to the service, and its picture.

import { maps } from "../api.js";
import { element } from "../dom.js";
import { marks, said } from "./says.js";
import { AttentionView } from "./view.js";
import { decode } from "./wire.js";

export class Panel {
  constructor(root, on) {
    this.root = root;
    this.title = element("h2");
    this.said = element("div");
    const picture = element("div");
    root.append(this.title, this.said, picture);
    this.view = new AttentionView(picture, on);
    this.rolling = false; // whether rollout is wanted, though its answer may not be there yet
    this.asking = null; // the last question, until it is answered
    this.opening = false; // whether that is for another sentence, not for a rollout of this one
    this.clear();
  }

  get tokens() { return this.plain.header.tokens; }
  get masks() { return this.tokens.flatMap((token, place) => (token.masked ? [place] : [])); }
  get isRolled() { return this.shown !== null && this.shown === this.rolled; }
  get isBusy() { return this.asking !== null; }

  // Asks for a sentence and shows it, by the method that is wanted when all is there; false if another was asked for.
  async ask(request, { name, labels }) {
    const found = await this.#follow(true, async (answer) => {
      const plain = await answer("view", request);
      return { plain, rolled: this.rolling ? rolledOut(plain, await answer("rollout", request)) : null };
    });
    if (!found) return false;
    Object.assign(this, { request, labels, ...found });
    this.title.textContent = this.masks.length ? `${name}, ${this.masks.length} masked` : name;
    this.said.replaceChildren(...said(this.plain.header.says, labels, request.text));
    this.#show();
    return true;
  }

  // Shows attention as it is, or rolled out through the layers; false if it is for a later question to show that.
  async show(rolling) {
    this.rolling = rolling;
    if (this.opening) return false;
    if (!rolling) this.stop();
    if (!this.plain) return false;
    if (rolling && !this.rolled) {
      const { plain } = this;
      const rolled = await this.#follow(false, async (answer) => rolledOut(plain, await answer("rollout", this.request)));
      if (!rolled) return false;
      this.rolled = rolled;
    }
    this.#show();
    return true;
  }

  // Abandons what was asked for.
  stop() {
    this.asking?.abort();
    this.#ask(null);
  }

  // Nothing is shown: what was is of another question.
  clear() { Object.assign(this, { plain: null, rolled: null, shown: null, request: null }); }

  #show() {
    this.shown = this.rolling && this.rolled ? this.rolled : this.plain;
    this.view.show(this.shown, marks(this.plain.header.says, this.labels));
  }

  #ask(asking, opening = false) {
    Object.assign(this, { asking, opening });
    this.root.ariaBusy = String(this.isBusy);
  }

  // What `work` gives, or null if something else was asked for meanwhile.
  async #follow(opening, work) {
    this.stop();
    const asking = new AbortController();
    this.#ask(asking, opening);
    try {
      const found = await work(async (task, request) =>
        decode(await maps(task, { ...request, predictions: task === "view" }, asking.signal)));
      return asking === this.asking ? found : null;
    } catch (error) {
      if (asking !== this.asking) return null;
      throw error;
    } finally {
      if (asking === this.asking) this.#ask(null);
    }
  }
}

const rolledOut = (plain, { header, ...answer }) => ({ ...answer, header: { ...plain.header, maps: header.maps, rolled: true } });
