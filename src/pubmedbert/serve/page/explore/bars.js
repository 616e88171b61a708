// Numbers as bars. Lengths are set by the object model: the page's policy forbids style attributes.

import { element } from "../dom.js";

// A list of `[name, share]`; the longest bar is as wide as the list, or stands for `most`.
export function bars(rows, { digits = 2, most = Math.max(...rows.map(([, share]) => share), Number.MIN_VALUE) } = {}) {
  return element("ol", { className: "bars" }, ...rows.map(([name, share]) => {
    const bar = element("i");
    bar.style.width = `${(100 * share) / most}%`;
    return element("li", {}, element("b", { textContent: name }), element("span", { textContent: share.toFixed(digits) }),
      element("div", { className: "track", "aria-hidden": "true" }, bar));
  }));
}
