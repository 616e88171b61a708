// Keys that do something wherever the focus is, but where it is in a text.

const WRITTEN = "textarea, input:not([type=range], [type=radio], [type=checkbox])";

// Esc closes what popped up in the views, and unpins if nothing had; M is for `mask`, if there is one.
export function onKeys(views, { unpin, mask }, isShown = () => true) {
  document.addEventListener("keydown", (event) => {
    const { key, target } = event;
    if (event.isComposing || event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || !isShown()) return;
    if (target.closest?.(WRITTEN)) return;
    if (key === "Escape") {
      const had = views().map((view) => view.dismiss());
      if (!had.includes(true)) unpin();
    } else if (key.toLowerCase() === "m" && !target.closest?.("select")) mask?.(); // where letters choose
  });
}
