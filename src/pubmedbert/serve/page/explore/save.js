// The view as a file: SVG, PNG, or a page that needs neither service nor network.

import { element } from "../dom.js";
import { paint, scene, svg } from "./scene.js";

// What such a page is made of: these files one behind the other, without their imports.
const MODULES = ["dom.js", "explore/maps.js", "explore/wire.js", "explore/bars.js", "explore/says.js", "explore/counterpart.js", "explore/ink.js", "explore/view.js", "explore/keys.js", "explore/controls.js", "explore/alone.js"];
const STYLES = ["style.css", "explore/explore.css"];
const POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'";
const PNG_SCALE = 2;

export const KINDS = ["svg", "png", "html"];

function download(content, type, name) {
  const href = URL.createObjectURL(new Blob([content], { type }));
  element("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 60_000);
}

// Saves pictures, and of occlusion its table where it is shown; tells how.
export async function save(kind, shown, table) {
  await { svg: saveSvg, png: savePng, html: saveHtml }[kind](shown, table);
  const without = table && kind !== "html" ? ", without the table of occlusion, which HTML has" : "";
  return `Saved as ${shown[0].name}.${kind}${without}.`;
}

// A panel as it is saved: under a title, with what is chosen.
export function pictured({ view, labels, isRolled }, model, text) {
  const heads = view.heads.length === view.answer.maps.heads ? "all heads" : `heads ${view.heads.map((head) => head + 1).join(", ")}`;
  const about = `layer ${view.chosen.layer + 1}, ${isRolled ? "attention rollout" : heads}, top ${Math.round(100 * view.chosen.threshold)}%`;
  const title = view.tokens.some(({ masked }) => masked) ? `${model}, masked` : model;
  return { view, labels, text, title, about, isRolled, name: `${slug(text)}-layer-${view.chosen.layer + 1}${isRolled ? "-rollout" : ""}` };
}

// The first words of a text, for the name of a file.
function slug(text) {
  const words = text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? [];
  return words.slice(0, 6).join("-").slice(0, 60) || "attention";
}

// `shown`, here and below, is a list of what `pictured` gives, side by side.
function together(shown) {
  const scenes = shown.map(({ view, title, about }) => scene(view, title, about));
  let left = 0;
  const shapes = scenes.flatMap(({ width, shapes: some }) => {
    const offset = left;
    left += width;
    return some.map((shape) => ({ ...shape, x: shape.x + offset, ...("toX" in shape ? { toX: shape.toX + offset } : {}) }));
  });
  return { width: left, height: Math.max(...scenes.map(({ height }) => height)), shapes };
}

function saveSvg(shown) {
  download(svg(together(shown), shown[0].text), "image/svg+xml", `${shown[0].name}.svg`);
}

function savePng(shown) {
  const whole = together(shown);
  const canvas = element("canvas", { width: whole.width * PNG_SCALE, height: whole.height * PNG_SCALE });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "#ffffff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.scale(PNG_SCALE, PNG_SCALE);
  paint(context, whole);
  const [, encoded] = canvas.toDataURL("image/png").split(","); // at once: a blob is made when the browser has nothing else to do
  if (!encoded) throw new Error("The picture is too large for this browser; save it as SVG.");
  download(Uint8Array.from(atob(encoded), (letter) => letter.charCodeAt(0)), "image/png", `${shown[0].name}.png`);
}

async function file(name) {
  const answer = await fetch(`page/${name}`);
  if (!answer.ok) throw new Error(`The page cannot be saved: the service answered ${answer.status} for its part ${name}.`);
  return answer.text();
}

async function saveHtml(shown, table) {
  const source = async (names) => {
    const files = await Promise.all(names.map(file));
    return files.join("\n");
  };
  const program = (await source(MODULES)).replace(/^import .*;\n/gm, "").replace(/^export /gm, "");
  const { layer, heads, threshold, hideSpecial } = shown[0].view.chosen; // of rollout there is one head, whatever was chosen before
  const panels = await Promise.all(shown.map(async ({ view, title, text, labels, isRolled }) =>
    ({ title: isRolled ? `${title}, attention rollout` : title, text, labels, pinned: view.chosen.pinned, answer: await base64(view.answer) })));
  const data = { state: { layer, heads, threshold, hideSpecial }, panels };
  const json = JSON.stringify(data).replaceAll("<", String.raw`\u003c`); // so that no text ends the script
  download(`<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<title>${shown[0].isRolled ? "Attention rollout" : "Attention"}: ${plain(shown[0].text)}</title>
<style>
${await source(STYLES)}</style>
<body class="alone">
<main class="column" id="alone"></main>
${table ? `<section class="column card occlusion">\n<h2>Occlusion: what hiding a word adds to the answer</h2>\n${table.outerHTML}\n</section>\n` : ""}<script type="application/json" id="data">${json}</script>
<script type="module">
${program}
start();
</script>
</html>
`, "text/html", `${shown[0].name}.html`);
}

const plain = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

// An answer as it came over the wire. Rolled out attention has the header of its plain view.
async function base64({ header, maps }) {
  const head = new TextEncoder().encode(JSON.stringify({ ...header, maps: { ...header.maps, packed: "deflate" } }));
  const size = new DataView(new ArrayBuffer(4));
  size.setUint32(0, head.length, true);
  const body = new Response(new Blob([maps.bytes]).stream().pipeThrough(new CompressionStream("deflate")));
  const bytes = new Uint8Array(await new Blob(["PBX1", size, head, await body.arrayBuffer()]).arrayBuffer());
  let text = "";
  for (let at = 0; at < bytes.length; at += 1 << 15) text += String.fromCharCode(...bytes.subarray(at, at + (1 << 15)));
  return btoa(text);
}
