// The page: a tab is a button and a panel in index.html, and a module that exports its `id`, its `path`, and
// `start(panel, models)`, called when it is first chosen; until then the panel is hidden, so that nothing typed is
// lost. What that returns may have `visit()`, called whenever the address leads to the tab, and `query()`, what the
// address says of it.

import { models } from "./api.js";
import * as explore from "./explore/explore.js";
import * as fillMask from "./fill_mask.js";

const TABS = [fillMask, explore];
const started = new Map();

const button = (tab) => document.getElementById(`tab-${tab.id}`);
const addressed = () => TABS.find(({ path }) => location.pathname.endsWith(`/${path}`)) ?? TABS[0];

function select(tab, known) {
  for (const other of TABS) {
    const chosen = other === tab;
    button(other).ariaSelected = String(chosen);
    button(other).tabIndex = chosen ? 0 : -1;
    document.getElementById(other.id).hidden = !chosen;
  }
  document.body.dataset.tab = tab.id;
  document.title = `pubmedbert: ${tab.id}`;
  if (!started.has(tab)) started.set(tab, tab.start(document.getElementById(tab.id), known) ?? {});
  started.get(tab).visit?.();
}

// A tab has an address of its own, so that it can be linked and left by the browser's buttons.
function choose(tab, known) {
  if (button(tab).ariaSelected === "true") return;
  history.pushState(null, "", (tab.path || "./") + (started.get(tab)?.query?.() ?? ""));
  select(tab, known);
}

// Arrow keys move along the tab bar, as the ARIA practices have it.
function arrows(event, known) {
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const place = TABS.findIndex((tab) => button(tab) === event.target);
  const next = TABS.at((place + step) % TABS.length);
  choose(next, known);
  button(next).focus();
}

async function start() {
  const known = await models();
  for (const tab of TABS) button(tab).onclick = () => choose(tab, known);
  document.querySelector("[role=tablist]").onkeydown = (event) => arrows(event, known);
  addEventListener("popstate", () => select(addressed(), known));
  select(addressed(), known);
  document.body.dataset.ready = "true";
}

try {
  await start();
} catch (error) {
  const alert = document.getElementById("failure");
  alert.textContent = `The models of this service are not known: ${error.message} Reload the page to try again.`;
  alert.hidden = false;
}
