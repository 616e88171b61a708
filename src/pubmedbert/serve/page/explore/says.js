// What a fine-tuned model says of a sentence: its entities, coloured and named, or its classes.

import { element } from "../dom.js";
import { bars } from "./bars.js";

const KINDS = 6; // colours

// Characters are counted as Python counts them, not in the halves of UTF-16.
export const characters = (text) => [...text];

// The colour of each type of entity, the same in every sentence where the model's labels are known.
function kinds(says, labels) {
  const named = labels?.map((label) => label.replace(/^[BIESLU]-/, "")) ?? says.entities.map(({ entity }) => entity).sort();
  const types = [...new Set(named)].filter((name) => name !== "O");
  return (entity) => Math.max(types.indexOf(entity), 0) % KINDS;
}

// By place, `{kind, label}`; the label at the first piece of an entity only.
export function marks(says, labels) {
  const found = new Map();
  if (!says?.entities) return found;
  const kind = kinds(says, labels);
  for (const { entity, places } of says.entities) {
    places.forEach((place, number) => found.set(place, { kind: kind(entity), label: number ? "" : entity || "entity" }));
  }
  return found;
}

export function said(says, labels, text) {
  if (!says) return [];
  if (!says.entities) return [scores(says)];
  const letters = characters(text), kind = kinds(says, labels);
  const line = element("p", { className: "said" });
  let done = 0;
  for (const { entity, start, end, score } of says.entities) {
    line.append(letters.slice(done, start).join(""), element("mark", { className: `entity kind-${kind(entity)}` },
      letters.slice(start, end).join(""), element("small", { textContent: `${entity || "entity"} ${score.toFixed(2)}` })));
    done = end;
  }
  line.append(letters.slice(done).join(""));
  return [line, ...(says.entities.length ? [] : [element("p", { className: "hint", textContent: "The model finds no entity." })])];
}

function scores(says) {
  if (!says.scores) return element("p", { className: "said" }, "Score ", element("b", { textContent: says.score.toFixed(3) }));
  const most = says.labels ?? [says.label];
  const rows = Object.entries(says.scores).sort(([, one], [, other]) => other - one);
  const answer = most.length ? most.join(", ") : "none of its labels";
  return element("div", { className: "said" }, element("p", {}, "The model says ", element("b", { textContent: answer })), bars(rows, { most: 1 }));
}
