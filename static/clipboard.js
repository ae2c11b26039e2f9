// Puts text on the clipboard. Without HTTPS a page has no navigator.clipboard (as on a home network): then the old way, by a
// selection.
import { h } from "./dom.js";

// Whether it is there now.
export async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return selectedAndCopied(text);
  }
}

function selectedAndCopied(text) {
  const before = document.activeElement;
  const field = h("textarea", { class: "unseen", readonly: true, "aria-hidden": "true" });
  field.value = text;
  field.style.whiteSpace = "pre"; // or what is copied is what is seen, with its spaces run together
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  before?.focus({ preventScroll: true });
  return done;
}
