// The service. Addresses are relative, so that it may live under a path of a proxy.

let key = "";
let asked = null; // resolves once a key was typed; several calls may wait for it
const form = document.getElementById("key");

// Asks for the API key, and says if it was asked for before. Calls that are refused together share one question.
function askForKey() {
  form.querySelector("[role=alert]").hidden = !key;
  key = "";
  form.hidden = false;
  const field = form.querySelector("input");
  field.focus();
  asked = new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      const typed = field.value.trim();
      field.value = "";
      if (!/^[!-~]*$/.test(typed)) { // no header can hold it, so no service has it
        form.querySelector("[role=alert]").hidden = false;
        return;
      }
      key = typed;
      form.hidden = true;
      asked = null;
      resolve();
    };
  });
}

// Nobody is there to answer.
export class Unreachable extends Error {
  constructor() { super("The service does not answer: is it still running?"); }
}

const unreached = (error) => { throw error.name === "AbortError" ? error : new Unreachable(); };
const cut = (error) => { throw error.name === "AbortError" ? error : new Error("The answer was cut short; ask again."); };
const json = (response) => response.json().catch(cut);
const bytes = (response) => response.arrayBuffer().catch(cut);

async function call(path, options = {}, read = json) {
  for (;;) {
    const used = key;
    const headers = used ? { ...options.headers, Authorization: `Bearer ${used}` } : options.headers;
    const response = await fetch(path, { ...options, headers }).catch(unreached);
    if (response.status === 401) {
      if (!asked && used === key) askForKey(); // otherwise another call has asked, or a new key is there
      await asked;
      continue;
    }
    if (response.ok) return read(response);
    const said = await response.json().catch(() => ({})); // of a proxy, perhaps
    throw new Error(said.error ?? `The service answered ${response.status}.`);
  }
}

const posted = (request, signal) =>
  ({ method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request), signal });

export const models = () => call("models");
export const compute = (model, task, request) => call(address(model, task), posted(request));

// The explorer: its models, the state that a link asks for, and what is computed of a sentence.
export const explored = () => call("explore/models");
export const linked = (query) => call(`explore/state${query}`);
export const maps = (task, request, signal) => call(`explore/${task}`, posted(request, signal), bytes);
export const occlusion = (request, signal) => call("explore/occlusion", posted(request, signal));
export const neighbours = (request, signal) => call("explore/neighbours", posted(request, signal));

const address = (model, task) => `models/${model}/pipeline/${task}`;

// For a shell; plain words stay as they are.
export const quoted = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", String.raw`'\''`)}'`);

// The same request as a command for a shell.
export function curl(model, task, request) {
  const url = new URL(address(model, task), document.baseURI).href;
  const lines = [`curl ${quoted(url)}`, `-H 'Content-Type: application/json'`];
  if (key) lines.push(`-H "Authorization: Bearer $PUBMEDBERT_API_KEY"`);
  return [...lines, `-d ${quoted(JSON.stringify(request))}`].join(" \\\n  ");
}
