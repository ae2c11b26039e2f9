// The list above the composer: what the line being typed could become, and a line on what it is. It never has the focus itself:
// the composer's field keeps it and says which option is active. Tells "choose" {option}.
//
// A hint is {usage, summary, mark?}. An option is {value, summary, mark?, line: what choosing it makes of the line,
// exact: whether that is typed already}.
import { h, say, tell } from "./dom.js";

class CommandPalette extends HTMLElement {
  #active = -1;

  connectedCallback() {
    if (this.list) return;
    this.options = [];
    this.hint = h("p", { class: "hint", "aria-live": "polite" }, h("code"), h("span"), h("span", { class: "mark" }));
    // Scrolls, so it can have the focus (WCAG 2.1.1), though Tab completes instead of leading there.
    this.list = h("ul", { id: "commands", role: "listbox", tabindex: "0", onpointerdown: (event) => event.preventDefault() });
    this.append(this.hint, this.list);
    this.close();
  }

  draw({ label, hint = {}, options, active = -1 }) {
    this.options = options;
    const { usage, summary, mark } = hint;
    [usage, summary, mark].forEach((text, at) => say(this.hint.children[at], text ?? ""));
    this.hint.hidden = !usage;
    this.list.setAttribute("aria-label", label);
    this.list.hidden = options.length === 0;
    this.hidden = this.hint.hidden && this.list.hidden;
    this.list.replaceChildren(...options.map((option, index) => h("li", {
      id: `option-${index}`, role: "option",
      onpointerdown: (event) => event.preventDefault(), // the field keeps the focus
      onclick: () => tell(this, "choose", { option }),
    }, h("code", { dir: "auto" }, option.value), h("span", { dir: "auto" }, option.summary), option.mark && h("span", { class: "mark" }, option.mark))));
    this.#activate(active);
  }

  close() {
    this.draw({ label: "", options: [] });
  }

  get active() { return this.options[this.#active]; }

  get activeId() { return this.list.children[this.#active]?.id ?? null; }

  // From none, the first step leads to the first option, or up to the last.
  step(by) {
    const { length } = this.options;
    this.#activate(this.#active < 0 ? (by > 0 ? 0 : length - 1) : (this.#active + by + length) % length);
  }

  #activate(index) {
    this.#active = index;
    [...this.list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === index)));
    this.list.children[index]?.scrollIntoView({ block: "nearest" });
  }
}

customElements.define("command-palette", CommandPalette);
