// The page: one module for each tab, started when the models are known. A tab is a button and a panel in index.html
// and a module that exports its `id` and `start(panel, models)`.

import { models } from "./api.js";
import * as fillMask from "./fill_mask.js";

const TABS = [fillMask];

function select(tab) {
  for (const other of document.querySelectorAll("[role=tab]")) {
    const chosen = other === tab;
    other.ariaSelected = String(chosen);
    other.tabIndex = chosen ? 0 : -1;
    document.getElementById(other.getAttribute("aria-controls")).hidden = !chosen;
  }
}

// Arrow keys move along the tab bar, as the ARIA practices have it.
function arrows(event) {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!step) return;
  const next = tabs.at((tabs.indexOf(event.target) + step) % tabs.length);
  select(next);
  next.focus();
}

async function start() {
  const known = await models();
  for (const tab of TABS) {
    tab.start(document.getElementById(tab.id), known);
    document.getElementById(`tab-${tab.id}`).onclick = (event) => select(event.currentTarget);
  }
  document.querySelector("[role=tablist]").onkeydown = arrows;
  document.body.dataset.ready = "true";
}

try {
  await start();
} catch (error) {
  const alert = document.getElementById("failure");
  alert.textContent = `The models of this service are not known: ${error.message} Reload the page to try again.`;
  alert.hidden = false;
}
