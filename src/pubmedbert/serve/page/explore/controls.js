// Layer, heads, threshold and special tokens: the choices that need no service. Of the page, and of the files it saves.

import { element } from "../dom.js";

export class Controls {
  // `on.change(changes)` when the reader chooses; `on.preview(head)` while a head is pointed at, null after.
  constructor(root, on) {
    Object.assign(this, { root, on });
    this.layers = element("div", { className: "layers" });
    this.chips = element("div", { className: "chips" });
    this.none = element("p", { className: "hint", role: "status" });
    this.headset = element("fieldset", {}, element("legend", { textContent: "Heads" }), this.chips,
      element("div", { className: "row" }, this.#every("All", () => this.chosen.all), this.#every("None", () => [])), this.none);
    this.range = element("input", { type: "range", min: 0, max: 100, step: 1, id: "explore-threshold" });
    this.share = element("output", { htmlFor: "explore-threshold" });
    this.drawn = element("span", { textContent: "attention" });
    this.special = element("input", { type: "checkbox", id: "explore-special" });
    this.range.oninput = () => on.change({ threshold: this.range.valueAsNumber / 100 });
    this.special.onchange = () => on.change({ hideSpecial: this.special.checked });
    root.replaceChildren(
      element("fieldset", {}, element("legend", { textContent: "Layer" }), this.layers),
      this.headset,
      element("div", { className: "threshold" },
        element("label", { htmlFor: "explore-threshold" }, "Top ", this.share, " of each piece's ", this.drawn), this.range),
      element("label", { className: "check", htmlFor: "explore-special" }, this.special, "Hide [CLS] and [SEP]"));
  }

  // How many there are to choose from.
  fit(layers, heads) {
    this.chosen = { all: [...Array(heads).keys()], heads: [] };
    this.layers.replaceChildren(...[...Array(layers).keys()].map((layer) => {
      const radio = element("input", { type: "radio", name: "explore-layer", value: layer });
      radio.onchange = () => this.on.change({ layer });
      return element("label", {}, radio, element("span", { textContent: layer + 1 }));
    }));
    this.chips.replaceChildren(...this.chosen.all.map((head) => {
      const chip = element("button", { type: "button", textContent: head + 1, ariaLabel: `Head ${head + 1}` });
      chip.onclick = () => this.toggle(head);
      chip.onpointerenter = ({ pointerType }) => { if (pointerType === "mouse" && !this.headset.disabled) this.on.preview(head); };
      chip.onfocus = () => { if (chip.matches(":focus-visible")) this.on.preview(head); };
      chip.onpointerleave = chip.onblur = () => this.on.preview(null);
      return chip;
    }));
  }

  set({ layer, heads, threshold, hideSpecial }) {
    this.chosen.heads = heads;
    this.layers.querySelectorAll("input").forEach((radio, number) => { radio.checked = number === layer; });
    [...this.chips.children].forEach((chip, head) => { chip.ariaPressed = String(heads.includes(head)); });
    const share = Math.round(100 * threshold);
    if (this.range.valueAsNumber !== share) this.range.value = share;
    this.share.value = `${share}%`;
    this.special.checked = hideSpecial;
    this.none.textContent = !heads.length ? "No head is chosen, so nothing is drawn." : share ? "" : "Of the top 0% nothing is drawn.";
  }

  // Rolled out attention has no heads.
  roll(isRolled) {
    this.headset.disabled = isRolled;
    this.drawn.textContent = isRolled ? "rollout" : "attention";
  }

  toggle(head) {
    const heads = new Set(this.chosen.heads);
    if (!heads.delete(head)) heads.add(head);
    this.on.change({ heads: [...heads].sort((one, other) => one - other) });
  }

  #every(textContent, heads) {
    const button = element("button", { type: "button", className: "quiet", textContent, ariaLabel: `${textContent} heads` });
    button.onclick = () => this.on.change({ heads: heads() });
    return button;
  }
}
