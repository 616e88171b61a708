// Elements without a framework. Text is always set as text, never as HTML.

export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in made) made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

// The elements of a panel by their data-part. Those inside a card of it, marked by data-card, are the card's own.
export function parts(panel) {
  const own = (part) => {
    const card = part.parentElement.closest("[data-card]");
    return !card || card === panel || card.contains(panel);
  };
  return Object.fromEntries([...panel.querySelectorAll("[data-part]")].filter(own).map((part) => [part.dataset.part, part]));
}

// Copies where the browser lets us (https, localhost); elsewhere the text is selected for the reader to copy.
export async function copy(source, status, open = () => {}) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    status.textContent = "Copied.";
  } catch {
    open();
    getSelection().selectAllChildren(source);
    source.focus();
    status.textContent = "Selected: copy it with Ctrl+C.";
  }
}
