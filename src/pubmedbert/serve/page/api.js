// The service. Addresses are relative, so that it may live under a path of a proxy.

let key = "";
const form = document.getElementById("key");

// Asks for the API key, and says if it was asked for before.
function askForKey() {
  form.querySelector("[role=alert]").hidden = !key;
  key = "";
  form.hidden = false;
  const field = form.querySelector("input");
  field.focus();
  return new Promise((resolve) => {
    form.onsubmit = (event) => {
      event.preventDefault();
      key = field.value.trim();
      field.value = "";
      form.hidden = true;
      resolve();
    };
  });
}

async function call(path, options = {}) {
  for (;;) {
    const headers = key ? { ...options.headers, Authorization: `Bearer ${key}` } : options.headers;
    const response = await fetch(path, { ...options, headers });
    if (response.status === 401) {
      await askForKey();
      continue;
    }
    const body = await response.json().catch(() => ({}));
    if (!response.ok) throw new Error(body.error ?? `The service answered ${response.status}.`);
    return body;
  }
}

export const models = () => call("models");

export function compute(model, task, request) {
  const options = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request) };
  return call(address(model, task), options);
}

const address = (model, task) => `models/${model}/pipeline/${task}`;
const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;

// The same request as a command for a shell.
export function curl(model, task, request) {
  const url = new URL(address(model, task), document.baseURI).href;
  const lines = [`curl ${quoted(url)}`, `-H 'Content-Type: application/json'`];
  if (key) lines.push(`-H "Authorization: Bearer $PUBMEDBERT_API_KEY"`);
  return [...lines, `-d ${quoted(JSON.stringify(request))}`].join(" \\\n  ");
}
