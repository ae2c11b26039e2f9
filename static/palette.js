// The list above the composer: what the line being typed could become, and a line on what it is. It never has the focus itself:
// the composer's field keeps it and says which option is active. Tells "choose" {option}.
//
// A hint is {usage, place: which word of the usage is being typed, summary, type?, mark?}. A group is {label?, options}. An option is
// {value, summary, mark?, line: what choosing it makes of the line, exact: whether that is typed already}.
import { h, say, tell } from "./dom.js";

class CommandPalette extends HTMLElement {
  #active = -1;
  #nodes = [];

  connectedCallback() {
    if (this.list) return;
    this.options = [];
    this.usage = h("code");
    this.about = [h("span"), h("span", { class: "mark" }), h("span", { class: "mark now" })];
    this.hint = h("p", { class: "hint", "aria-live": "polite" }, this.usage, this.about);
    this.list = h("div", { id: "commands", role: "listbox" });
    this.append(this.hint, this.list);
    this.draw({ label: "" });
  }

  draw({ label, hint = null, groups = [], active = -1 }) {
    this.#hint(hint);
    this.options = groups.flatMap(({ options }) => options);
    this.#nodes = this.options.map((option, index) => this.#option(option, index));
    let drawn = 0;
    this.list.setAttribute("aria-label", label);
    this.list.hidden = this.options.length === 0;
    this.hidden = this.hint.hidden && this.list.hidden;
    this.list.replaceChildren(...groups.flatMap((group, index) => {
      const nodes = this.#nodes.slice(drawn, drawn += group.options.length);
      return group.label ? this.#group(group.label, `group-${index}`, nodes) : nodes;
    }));
    this.list.scrollTop = 0;
    this.#activate(active);
  }

  close() {
    if (!this.hidden) this.draw({ label: "" });
  }

  get active() { return this.options[this.#active]; }

  get activeId() { return this.#nodes[this.#active]?.id ?? null; }

  // From none, the first step leads to the first option, or up to the last.
  step(by) {
    const { length } = this.options;
    this.#activate(this.#active < 0 ? (by > 0 ? 0 : length - 1) : (this.#active + by + length) % length);
  }

  #hint(hint) {
    this.hint.hidden = !hint;
    const { usage = "", place, summary, type, mark } = hint ?? {};
    if (this.usage.textContent !== usage || this.usage.dataset.place !== String(place)) {
      this.usage.dataset.place = place;
      this.usage.replaceChildren(...usage.split(" ").flatMap((word, at) => [at > 0 && " ", at === place ? h("b", {}, word) : word]).filter(Boolean));
    }
    [summary, type, mark].forEach((text, at) => say(this.about[at], text ?? ""));
  }

  #group(label, id, nodes) {
    return h("div", { role: "group", "aria-labelledby": id }, h("div", { id, class: "group", role: "presentation" }, label), nodes);
  }

  #option(option, index) {
    const { value, summary, mark } = option;
    return h("div", {
      id: `option-${index}`, role: "option",
      onpointerdown: (event) => event.preventDefault(), // the field keeps the focus
      onclick: () => tell(this, "choose", { option }),
    }, h("code", { dir: "auto" }, value), h("span", { dir: "auto" }, summary), mark && h("span", { class: "mark now" }, mark));
  }

  #activate(index) {
    this.#active = index;
    this.#nodes.forEach((node, at) => node.setAttribute("aria-selected", String(at === index)));
    // The first one with the label above it.
    if (index === 0) this.list.scrollTop = 0;
    else this.#nodes[index]?.scrollIntoView({ block: "nearest" });
  }
}

customElements.define("command-palette", CommandPalette);
