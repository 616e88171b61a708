// What is shown of a link to a model that is not served: how to serve it, and the offer of another.

import { copy, parts } from "../dom.js";

export class MissingCard {
  // `instead()` is called when the reader takes the offer; `status` is where it is said that the command was copied.
  constructor(root, status, instead) {
    this.root = root;
    this.part = parts(root);
    this.part.copy.onclick = () => copy(this.part.command, status);
    this.part.instead.onclick = () => instead();
  }

  // `{sentence, command}` of the service, and the model that is offered.
  show({ sentence, command }, offered) {
    this.part.text.textContent = sentence;
    this.part.command.textContent = command;
    this.part.instead.textContent = `Show it with ${offered}`;
    this.root.hidden = false;
  }

  hide() { this.root.hidden = true; }
}
