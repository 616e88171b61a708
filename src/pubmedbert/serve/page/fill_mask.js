// The widget of the model card: a text with [MASK], the likely words and their probabilities.

import { compute, curl } from "./api.js";
import { copy, element, parts } from "./dom.js";

export const id = "fill-mask";
export const path = "";

const MASK = "[MASK]";
const EXAMPLES = [
  "[MASK] is a tyrosine kinase inhibitor.",
  "Metformin is used for type 2 [MASK].",
  "Mutations in [MASK] cause cystic fibrosis.",
  "The patient was given [MASK] for pain and [MASK] for fever.",
];

export function start(panel, models) {
  const part = parts(panel);
  const text = panel.querySelector("#fill-text");
  const form = panel.querySelector("form");
  const choice = panel.querySelector("#fill-model");
  let latest = 0; // the request whose answer is waited for
  choice.append(...models.filter(({ tasks }) => tasks.includes(id)).map(({ name }) => new Option(name)));
  text.value = EXAMPLES[0];
  if (!choice.length) {
    part.error.textContent = "No model of this service fills masks; the API says what its models do.";
    part.error.hidden = false;
    for (const control of form.elements) control.disabled = true;
    return;
  }

  part.examples.append(...EXAMPLES.map((example) => {
    const button = element("button", { type: "button", textContent: example });
    button.onclick = () => { text.value = example; clear(); text.focus(); };
    return element("li", {}, button);
  }));
  part.insert.onclick = () => {
    text.setRangeText(MASK, text.selectionStart, text.selectionEnd, "end");
    text.focus();
  };
  choice.onchange = clear;
  form.onkeydown = (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
    event.preventDefault(); // what the key does to the control it was pressed on
    form.requestSubmit();
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    if (part.compute.ariaDisabled !== "true") run();
  };
  const open = () => { part.raw.open = true; };
  part["copy-json"].onclick = () => copy(part.json, part.status, open);
  part["copy-curl"].onclick = () => copy(part.curl, part.status, open);

  // Answers to another question do not stay, nor do those that are still to come.
  function clear() {
    latest += 1;
    part.result.hidden = part.error.hidden = true;
    part.status.textContent = "";
  }

  async function run() {
    const asked = latest += 1;
    const model = choice.value;
    const request = { inputs: text.value, parameters: { top_k: panel.querySelector("#fill-count").valueAsNumber } };
    part.compute.ariaDisabled = "true"; // not `disabled`, which would take the focus away
    part.status.textContent = "Computing …";
    part.error.hidden = true;
    const began = performance.now();
    try {
      const targets = words(panel.querySelector("#fill-targets").value);
      if (targets.length) request.parameters.targets = targets;
      const answer = await compute(model, id, request);
      if (asked !== latest) return;
      show(part, request.inputs, answer);
      part.curl.textContent = curl(model, id, request);
      part.json.textContent = JSON.stringify(answer, null, 2);
      part.status.textContent = summary(answer, performance.now() - began);
    } catch (error) {
      if (asked !== latest) return;
      part.result.hidden = true;
      part.status.textContent = "";
      part.error.textContent = error.message;
      part.error.hidden = false;
    } finally {
      part.compute.ariaDisabled = "false";
    }
  }
}

// Words parted by commas, in double quotes where they hold one: what the command takes for --targets.
function words(written) {
  if (written.split('"').length % 2 === 0) throw new Error("A double quote is not closed; close it after the word.");
  const between = written.replaceAll(/"[^"]*"/g, "").match(/\d['′]*,\d+/);
  if (between) {
    throw new Error(`The comma in “${between[0]}” may be part of a word: write the word in double quotes, or a blank after the comma.`);
  }
  const found = written.match(/("[^"]*"|[^",])+/g) ?? [];
  return found.map((word) => word.replaceAll('"', "").trim()).filter(Boolean);
}

const masks = (answer) => (Array.isArray(answer[0]) ? answer : [answer]);

// Three decimals, as the model card's widget had them; of small scores two digits and a power of ten, so that rare
// words can be told apart.
function shown(score) {
  if (score >= 0.001 || score === 0) return score.toFixed(3);
  const [digits, power] = score.toExponential(1).split("e");
  return `${digits}×10${[...power].map((sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]).join("")}`;
}

function summary(answer, milliseconds) {
  const best = masks(answer).map(([first]) => `${first.token_str} ${shown(first.score)}`).join(", ");
  return `Best: ${best} (${Math.round(milliseconds)} ms)`;
}

function show(part, text, answer) {
  const several = masks(answer).length > 1;
  part.bars.replaceChildren(...masks(answer).map((answers, number) =>
    table(text, answers, number, several ? `Mask ${number + 1}` : "")));
  part.result.hidden = false;
}

function table(text, answers, number, caption) {
  const largest = Math.max(...answers.map(({ score }) => score), Number.MIN_VALUE);
  const rows = answers.map(({ score, token_str: word }) => {
    const bar = element("i");
    bar.style.width = `${(100 * score) / largest}%`; // by the object model: the page's policy forbids style attributes
    return element("tr", {},
      element("th", { scope: "row", className: "word", textContent: word }),
      element("td", { className: "score" }, element("div", {},
        element("span", { textContent: shown(score) }),
        element("div", { className: "track", "aria-hidden": "true" }, bar))),
      element("td", { className: "sequence" }, ...filled(text, number, word)));
  });
  const heads = [["Word", "word"], ["Score", "score"], ["Text", "sequence"]];
  const head = element("tr", {}, ...heads.map(([textContent, className]) =>
    element("th", { scope: "col", className, textContent })));
  return element("table", {},
    ...(caption ? [element("caption", { textContent: caption })] : []),
    element("thead", {}, head), element("tbody", {}, ...rows));
}

// The text as it was written, with one of its masks filled.
function filled(text, number, word) {
  const pieces = text.split(MASK);
  const before = pieces.slice(0, number + 1).join(MASK);
  return [before, element("mark", { textContent: word.replace(/^##/, "") }), pieces.slice(number + 1).join(MASK)];
}
