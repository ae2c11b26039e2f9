// Which of its variants a message is, and the way to the others. Tells "pick" {id, variant}.
import { h, say, tell } from "./dom.js";
import { transcript as words } from "./strings.js";

// Hidden while there is nothing to choose. A message keeps its place among its variants, but more of them may come.
export function variantSwitch(id) {
  let shown = null;
  const previous = h("button", { type: "button", class: "quiet", onclick: () => choose(previous, -1) }, "‹");
  const place = h("span");
  const next = h("button", { type: "button", class: "quiet", onclick: () => choose(next, 1) }, "›");
  const node = h("div", { class: "variants", role: "group", hidden: true }, previous, place, next);

  function choose(button, by) {
    button.focus(); // Safari gives a clicked button none, and by the focus the sibling's switch is found
    tell(node, "pick", { id, variant: shown.index + by });
  }

  function lead(button, name, to) {
    button.disabled = to < 1 || to > shown.count;
    button.setAttribute("aria-label", button.disabled ? name : words.variantOf(name, to, shown.count));
  }

  node.draw = (variant) => {
    if (variant?.index === shown?.index && variant?.count === shown?.count) return;
    shown = variant;
    node.hidden = !variant;
    if (!variant) return;
    const { index, count } = variant;
    node.setAttribute("aria-label", words.variant(index, count));
    say(place, `${index}/${count}`);
    lead(previous, words.previousVariant, index - 1);
    lead(next, words.nextVariant, index + 1);
  };
  // On the button that leads on in the same direction, or back where there is nothing more that way.
  node.takeFocus = (forward) => {
    const [wanted, other] = forward ? [next, previous] : [previous, next];
    (wanted.disabled ? other : wanted).focus({ preventScroll: true });
  };
  return node;
}
