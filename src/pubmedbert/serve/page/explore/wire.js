// A view as it comes from the service: "PBX1", the length of a JSON header, the header, and the maps, deflated.

import { Maps } from "./maps.js";

export async function decode(buffer) {
  const magic = new TextDecoder().decode(new Uint8Array(buffer, 0, Math.min(4, buffer.byteLength)));
  if (magic !== "PBX1") throw new Error("This is no attention view.");
  const start = 8 + new DataView(buffer).getUint32(4, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, start - 8)));
  let bytes = new Uint8Array(buffer, start);
  if (header.maps.packed === "deflate") {
    const unpacked = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
    bytes = new Uint8Array(await new Response(unpacked).arrayBuffer().catch(() => [])); // cut short, as is said below
  }
  const size = header.maps.shape.reduce((product, number) => product * number, 1);
  if (bytes.length !== size) throw new Error("The answer was cut short; ask again.");
  return { header, maps: new Maps(bytes, header.maps.shape), buffer };
}
