// What was done differently from what was asked, above the picture.

import { element } from "../dom.js";

export class Notices {
  constructor(root) {
    this.root = root;
    this.ofLink = []; // these stay until another sentence or link
  }

  // The link's notices, and those of the answer.
  show(ofAnswer = []) {
    const all = [...this.ofLink, ...ofAnswer];
    this.root.replaceChildren(...all.map((textContent) => element("li", { textContent: sentence(textContent) })));
    this.root.hidden = !all.length;
  }
}

// A notice may begin with a parameter's name, which stays as it is.
const sentence = (text) => (/^[a-z]+[A-Z=]/.test(text) ? `${text}.` : `${text[0].toUpperCase()}${text.slice(1)}.`);
