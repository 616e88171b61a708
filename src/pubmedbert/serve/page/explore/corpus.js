// Where the corpus uses a word as the sentence does: the nearest occurrences, and what they have in common.

import { neighbours, quoted } from "../api.js";
import { element, parts } from "../dom.js";
import { bars } from "./bars.js";
import { characters } from "./says.js";

const COUNT = 50; // as exBERT
const AT_FIRST = 10;
const SHORT = 12; // characters that are shown of the id of a document that PubMed does not have

export class CorpusCard {
  constructor(root) {
    this.root = root;
    this.part = parts(root);
    this.part.all.onclick = () => {
      this.part.all.hidden = true;
      for (const item of this.part.found.children) item.hidden = false;
      this.part.found.children[AT_FIRST].focus();
    };
  }

  clear() {
    this.asking?.abort();
    this.searched = null;
    this.root.hidden = true;
  }

  // Attention of another layer or other heads is shown now: what is underlined, and counted by it, is of those before.
  follow(chosen) {
    if (this.searched === null) return;
    this.root.classList.toggle("outdated", JSON.stringify(chosen) !== this.searched);
    this.part.outdated.hidden = !this.root.classList.contains("outdated");
  }

  // Looks for what is pinned; `chosen` has the layer and heads whose attention tells the word that each attends to most.
  async find(panel, pinned, about, chosen) {
    this.clear();
    this.root.hidden = false;
    for (const name of ["answer", "missing", "error"]) this.part[name].hidden = true;
    const token = panel.tokens[pinned.place];
    this.part.title.textContent = `In the corpus, like ${token.masked ? "[MASK]" : `“${token.piece}”`} here`;
    if (!about.index) {
      const model = quoted(about.asked);
      this.part.command.textContent = `pubmedbert explore index --store store --model ${model} --out index\n`
        + `pubmedbert serve --model ${model} --index index`;
      this.part.missing.hidden = false;
      this.part.status.textContent = "There is no index for this model yet.";
      this.root.scrollIntoView({ block: "nearest" });
      return;
    }
    this.root.scrollIntoView({ block: "nearest" });
    this.part.status.textContent = `Searching ${about.index.words.toLocaleString("en")} words …`;
    const asking = (this.asking = new AbortController());
    try {
      const request = { ...panel.request, predictions: false, place: pinned.place, count: COUNT, layer: chosen.layer, heads: chosen.heads };
      const answer = await neighbours(request, asking.signal);
      if (asking !== this.asking) return;
      this.searched = JSON.stringify(chosen);
      this.follow(chosen);
      this.#show(answer, about);
      this.root.scrollIntoView(); // its beginning: the page has room for it only now
    } catch (error) {
      if (asking !== this.asking || error.name === "AbortError") return;
      this.part.status.textContent = "";
      this.part.error.textContent = error.message;
      this.part.error.hidden = false;
    }
  }

  #show(answer, about) {
    const found = answer.neighbours;
    this.part.status.textContent = `The ${found.length} nearest of ${about.index.words.toLocaleString("en")} words in `
      + `${about.index.documents.toLocaleString("en")} documents, by ${about.index.of === "heads" ? "what the heads give in" : "the states of"} layer ${about.index.layer}.`;
    const shown = grouped(found.map((one, number) => ({ ...one, attended: answer.attended_words?.[number] })));
    this.part.found.replaceChildren(...shown.map((one, number) => this.#item(one, number)));
    this.part.all.hidden = shown.length <= AT_FIRST;
    this.part.all.textContent = `Show all ${shown.length}`;
    this.part.summary.replaceChildren(...(answer.summary ? [counts("Matched words", answer.summary.matched), counts("Words they attend to most", answer.summary.attended)]
      : [words(found)]));
    this.part.answer.hidden = false;
  }

  #item({ score, sentence, start, end, doc_id: id, link, attended, times }, number) {
    const name = link ? element("a", { href: link, target: "_blank", rel: "noreferrer", textContent: `PMID ${id}` })
      : element("span", { title: id, textContent: `document ${id.length > SHORT ? `${id.slice(0, SHORT)}…` : id}` });
    const source = element("span", {}, name, ...(times > 1 ? [element("small", { textContent: ` ${times} times` })] : []));
    const item = element("li", { tabIndex: -1 }, element("span", { className: "score", textContent: score.toFixed(3) }),
      element("span", { className: "context" }, ...marked(sentence, [start, end], attended)), source);
    item.hidden = number >= AT_FIRST;
    return item;
  }
}

// A document may say the same sentence twice: it is listed once, and how often.
function grouped(found) {
  const groups = new Map();
  for (const one of found) {
    const lead = one.sentence.length - one.sentence.trimStart().length;
    const key = JSON.stringify([one.doc_id, one.sentence.trim(), one.start - lead]);
    const group = groups.get(key);
    if (group) group.times += 1;
    else groups.set(key, { ...one, times: 1 });
  }
  return [...groups.values()];
}

// A sentence with the word that matches marked, and the one it attends to most underlined.
function marked(sentence, match, attended) {
  const letters = characters(sentence);
  const spans = [[...match, "mark"], ...(attended ? [[...attended, "u"]] : [])].sort(([one], [other]) => one - other);
  const made = [];
  let done = 0;
  for (const [start, end, tag] of spans) {
    if (start < done) continue;
    made.push(letters.slice(done, start).join(""), element(tag, { textContent: letters.slice(start, end).join("") }));
    done = end;
  }
  return [...made, letters.slice(done).join("")];
}

function counts(title, types) {
  const rows = Object.entries(types).sort(([, one], [, other]) => other - one);
  return element("div", {}, element("h3", { textContent: title }), bars(rows, { digits: 0 }));
}

// Without a tagger: the words themselves.
function words(found) {
  const count = new Map();
  for (const { word } of found) count.set(word.toLowerCase(), (count.get(word.toLowerCase()) ?? 0) + 1);
  const rows = [...count].sort(([, one], [, other]) => other - one).slice(0, 8);
  return element("div", {}, element("h3", { textContent: "Matched words" }), bars(rows, { digits: 0 }));
}
