// A field in the place of a session's title. Enter, or leaving it, says the new one; Escape leaves the old one.
import { h } from "./dom.js";
import { sessions as strings } from "./strings.js";

const MOST = 400; // characters, as the server counts them

// `done` is told the new title (null: none), or undefined where it stays, and whether the focus is to go back to where it was.
export function titleField(title, done) {
  let over = false;
  const end = (said, back) => {
    if (over) return;
    over = true;
    const next = said?.trim().replace(/\s+/g, " ");
    done(next === undefined || next === (title ?? "") ? undefined : next || null, back);
  };
  const field = h("input", {
    class: "title-field", type: "text", dir: "auto", "aria-label": strings.titleField, maxlength: String(MOST), placeholder: strings.untitled,
    autocomplete: "off", enterkeyhint: "done", value: title ?? "",
    // A list that moves the field to another place takes the focus from it, and gives it back before this.
    onblur: () => queueMicrotask(() => field.isConnected && document.activeElement !== field && end(field.value, false)),
    onkeydown: (event) => {
      event.stopPropagation(); // the list around it has keys of its own
      if (event.isComposing || event.keyCode === 229) return;
      if (event.key === "Enter") end(field.value, true);
      else if (event.key === "Escape") end(undefined, true);
    },
  });
  return field;
}
