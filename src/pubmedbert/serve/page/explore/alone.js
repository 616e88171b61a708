// The script of a saved page: its views, with layers, heads, threshold, pointing and pinning, and no service.

import { element } from "../dom.js";
import { Controls } from "./controls.js";
import { counterpart } from "./counterpart.js";
import { onKeys } from "./keys.js";
import { marks, said } from "./says.js";
import { AttentionView } from "./view.js";
import { decode } from "./wire.js";

export async function start() {
  const { state, panels } = JSON.parse(document.getElementById("data").textContent);
  const answers = await Promise.all(panels.map(({ answer }) => decode(Uint8Array.from(atob(answer), (letter) => letter.charCodeAt(0)).buffer)));
  const [{ maps, header: { rolled = false } }] = answers;
  const views = [];
  const controls = new Controls(element("div", { className: "card controls" }), { change, preview: (head) => views[0].preview(head) });
  const fitted = ({ layers, heads }, { layer, heads: chosen, ...others }) => ({
    ...others,
    layer: Math.min(layer, layers - 1),
    heads: chosen.length === maps.heads ? [...Array(heads).keys()] : chosen.filter((head) => head < heads),
  });

  function change(changes) {
    Object.assign(state, changes);
    controls.set(state);
    views.forEach((view, number) => view.set(fitted(answers[number].maps, state)));
  }

  const unpin = () => views.forEach((view) => view.set({ pinned: null }));
  const pin = (token, side) => {
    for (const view of views) {
      const place = counterpart(token, view.tokens);
      view.set({ pinned: place === null ? null : { place, side } });
    }
  };
  const cards = panels.map(({ title, text, labels }, number) => {
    const picture = element("div"), { header } = answers[number];
    const view = new AttentionView(picture, {
      pin: (place, side) => pin(view.tokens[place], side), unpin, head: (head) => { if (!rolled && head < maps.heads) controls.toggle(head); },
    });
    view.show(answers[number], marks(header.says, labels));
    view.set({ pinned: panels[number].pinned });
    views.push(view);
    return element("section", { className: "card panel" }, element("h2", { textContent: title }), ...said(header.says, labels, text), picture);
  });
  onKeys(() => views, { unpin });
  controls.fit(maps.layers, maps.heads);
  controls.roll(rolled);
  controls.headset.hidden = rolled;
  document.getElementById("alone").append(
    element("h1", { textContent: panels[0].text }), controls.root,
    element("div", { className: "panels" }, ...cards),
    element("p", { className: "hint", textContent: `Point at a word piece to see its ${rolled ? "rollout" : "attention"}; click to pin it. Saved from pubmedbert.` }));
  change({});
}
