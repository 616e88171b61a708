// All layers and heads at a glance: small maps on one canvas, under a grid of buttons that lead into them.

import { element } from "../dom.js";

export class Multiples {
  // `enter(layer, head)` is called for the one that is chosen.
  constructor(root, enter) {
    this.root = root;
    this.enter = enter;
    this.canvas = element("canvas", { "aria-hidden": "true" });
    new ResizeObserver(() => this.#draw()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
    root.addEventListener("keydown", (event) => this.#key(event));
  }

  show(maps, hidden) {
    if (maps === this.maps && String(hidden) === String(this.hidden)) return;
    const other = this.maps?.layers !== maps.layers || this.maps?.heads !== maps.heads;
    Object.assign(this, { maps, hidden });
    if (other) this.#build();
    this.#draw();
  }

  mark(layer, heads) {
    const chosen = new Set(heads.map((head) => layer * this.maps.heads + head));
    this.buttons?.forEach((button, number) => button.classList.toggle("chosen", chosen.has(number)));
  }

  #build() {
    const { layers, heads } = this.maps;
    const cells = [element("span", { className: "corner", textContent: "layer, head" })];
    for (let head = 0; head < heads; head++) cells.push(element("span", { className: "of-head", textContent: head + 1 }));
    this.buttons = [];
    for (let layer = 0; layer < layers; layer++) {
      cells.push(element("span", { className: "of-layer", textContent: layer + 1 }));
      for (let head = 0; head < heads; head++) {
        const button = element("button", { type: "button", ariaLabel: `Layer ${layer + 1}, head ${head + 1}`, tabIndex: this.buttons.length ? -1 : 0 });
        button.onclick = () => this.enter(layer, head);
        this.buttons.push(button);
        cells.push(button);
      }
    }
    this.root.style.setProperty("--heads", heads);
    this.root.style.setProperty("--layers", layers);
    this.root.replaceChildren(this.canvas, ...cells);
    this.buttons.forEach((button, number) => {
      button.style.gridRow = Math.floor(number / heads) + 2;
      button.style.gridColumn = (number % heads) + 2;
    });
  }

  // A layer in each frame. Opacity is the root of attention: small shares can be seen.
  #draw() {
    cancelAnimationFrame(this.drawing);
    const { canvas, maps } = this;
    if (!maps || !canvas.clientWidth) return;
    const { layers, heads, length } = maps, scale = devicePixelRatio;
    Object.assign(canvas, { width: Math.round(canvas.clientWidth * scale), height: Math.round(canvas.clientHeight * scale) });
    const context = canvas.getContext("2d");
    context.fillStyle = getComputedStyle(this.root).getPropertyValue("--heat").trim();
    const small = element("canvas", { width: length, height: length });
    const pen = small.getContext("2d", { willReadFrequently: true });
    const image = pen.createImageData(length, length);
    const [width, height] = [canvas.width / heads, canvas.height / layers];
    context.imageSmoothingEnabled = length > width; // a map that is made smaller is smoothed, a larger one keeps its pixels
    context.imageSmoothingQuality = "high";
    const layer = (number) => {
      for (let head = 0; head < heads; head++) {
        const map = maps.map(number, head);
        for (let at = 0; at < map.length; at++) image.data[4 * at + 3] = map[at];
        for (const place of this.hidden) {
          for (let other = 0; other < length; other++) image.data[4 * (place * length + other) + 3] = image.data[4 * (other * length + place) + 3] = 0;
        }
        pen.putImageData(image, 0, 0);
        context.drawImage(small, head * width + scale, number * height + scale, width - 2 * scale, height - 2 * scale);
      }
      if (number + 1 < layers) this.drawing = requestAnimationFrame(() => layer(number + 1));
      else this.#tint(context);
    };
    layer(0);
  }

  // The maps were drawn black; what is there takes the colour.
  #tint(context) {
    context.globalCompositeOperation = "source-in";
    context.fillRect(0, 0, context.canvas.width, context.canvas.height);
    this.root.dataset.drawn = this.buttons.length;
  }

  #key(event) {
    const at = this.buttons?.indexOf(event.target) ?? -1;
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: this.maps?.heads, ArrowUp: -this.maps?.heads }[event.key];
    const next = at < 0 || !step ? null : this.buttons[at + step];
    if (!next) return;
    event.preventDefault();
    event.target.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }
}
