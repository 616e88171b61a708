// What a sentence is compared with: another model, or the same one with masks of its own.

import { Panel } from "./panel.js";

export class Comparison {
  // `on` is that of the panel; `chosen()` is called when the reader wants another model there.
  constructor(part, on, chosen) {
    this.part = part;
    this.panel = new Panel(part.other, on);
    this.other = null; // `{model, masks}` of what is compared, null if nothing is
    part["other-model"].onchange = () => {
      this.other = { model: part["other-model"].value, masks: this.other.masks };
      chosen();
    };
  }

  // Begins with a model of the same kind, if there is one, else with what is pinned masked; or ends.
  begin(wanted, { state, about, known }, isMaskable) {
    const { part } = this;
    part.comparison.ariaPressed = String(wanted);
    part.rival.hidden = !wanted;
    part.panels.classList.toggle("two", wanted);
    this.other = null;
    this.hide();
    if (!wanted) return;
    const rival = known.models.find(({ name, kind }) => name !== state.model && kind === about.kind) ?? about;
    const masks = rival === about && isMaskable ? [...state.masks, state.token].sort((one, other) => one - other) : state.masks;
    this.other = { model: rival.name, masks };
    part["other-model"].replaceChildren(...known.models.map(({ name }) => new Option(name)));
    part["other-model"].value = rival.name;
  }

  // Asks for the sentence of a state; false if another was asked for.
  async ask(state, known, isRolled) {
    const { other, panel } = this;
    const about = known.models.find(({ name }) => name === other.model);
    panel.rolling = isRolled;
    const request = { model: other.model, text: state.sentence, text_b: state.sentence_b, masks: other.masks, predictions: true };
    if (!(await panel.ask(request, about))) return false;
    this.part.other.hidden = false;
    other.masks = panel.masks;
    return true;
  }

  hide() {
    this.panel.stop();
    this.panel.clear();
    this.part.other.hidden = true;
  }
}
