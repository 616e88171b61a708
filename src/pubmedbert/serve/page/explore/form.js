// What is asked: a sentence or two, and a model.

export class SentenceForm {
  // `on.ask()` when the reader wants to see what the fields say, `on.model(name)` when another model is chosen.
  constructor(part, on) {
    this.part = part;
    part.form.onsubmit = (event) => {
      event.preventDefault();
      on.ask();
    };
    for (const text of [part.sentence, part.pair]) {
      text.onkeydown = (event) => {
        if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
        event.preventDefault();
        part.form.requestSubmit();
      };
    }
    part.two.onclick = () => {
      this.#showSecond(part.second.hidden);
      if (part.second.hidden) on.ask();
      else part.pair.focus();
    };
    part.model.onchange = () => on.model(part.model.value);
  }

  get sentence() { return this.part.sentence.value; }
  get second() { return this.part.second.hidden ? null : this.part.pair.value; }

  // `about` is the model's; undefined if it is not served.
  fill(state, known, about) {
    const { part } = this;
    part.sentence.value = state.sentence;
    this.#showSecond(state.sentence_b !== null, state.sentence_b ?? "");
    part.model.replaceChildren(...known.models.map(({ name }) => new Option(name)));
    if (!about) { // none of those that could be chosen is meant
      part.model.prepend(new Option(`${state.asked} (not served)`, "", true, true));
      part.model.options[0].disabled = true;
      return;
    }
    part.model.value = about.name;
    part.two.hidden = !about.pairs;
  }

  focus() { this.part.sentence.focus(); }

  #showSecond(shown, text = "") {
    this.part.second.hidden = !shown;
    this.part.two.textContent = shown ? "Remove the second sentence" : "Add a second sentence";
    this.part.pair.value = text;
  }
}
