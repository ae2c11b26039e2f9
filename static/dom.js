// The only way this page makes elements: strings always become text nodes, so nothing a person or a model wrote is parsed as HTML.

export function h(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

const SVG = "http://www.w3.org/2000/svg";
const icons = new Map(); // a long transcript has thousands, and copying one takes a fraction of making it

// A drawing of lines, on a square of 24 by 24, as large and of the colour of the text around it; what it means is said beside it.
export function icon(lines) {
  if (!icons.has(lines)) icons.set(lines, drawn(lines));
  return icons.get(lines).cloneNode(true);
}

function drawn(lines) {
  const drawing = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", lines);
  drawing.setAttribute("viewBox", "0 0 24 24");
  drawing.setAttribute("class", "icon");
  drawing.setAttribute("aria-hidden", "true");
  drawing.append(path);
  return drawing;
}

// Does what moves nodes about; the focus and the selection stay with those that they were on.
export function undisturbed(change) {
  const focused = document.activeElement;
  const selection = getSelection();
  const { anchorNode, anchorOffset, focusNode, focusOffset } = selection;
  change();
  if (document.activeElement !== focused && focused.isConnected) focused.focus({ preventScroll: true });
  if (selection.anchorNode !== anchorNode && anchorNode?.isConnected && focusNode.isConnected) {
    selection.setBaseAndExtent(anchorNode, anchorOffset, focusNode, focusOffset);
  }
}

// Hides something, or shows it; `leave` moves the focus on where it would be lost.
export function hide(node, hidden, leave) {
  if (hidden && node.contains(document.activeElement)) leave();
  node.hidden = hidden;
}

// Only what changes: a live region with the same text anew would be read aloud again.
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// A link to another session, which the page follows itself; with a message's number after a `#`, to that.
export function sessionLink(id, attributes, ...children) {
  const link = h("a", { href: `/s/${id}`, ...attributes, onclick: (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return; // a new tab or window is the browser's affair
    event.preventDefault();
    tell(link, "open-session", { id, message: messageIn(link.hash) });
  } }, ...children);
  return link;
}

// The number of a message at the end of an address; null where there is none.
export const messageIn = (hash) => (/^#\d+$/.test(hash) ? Number(hash.slice(1)) : null);

// Children say what happened; app.js decides what follows from it.
export const tell = (node, type, detail) => node.dispatchEvent(new CustomEvent(type, { detail, bubbles: true }));
