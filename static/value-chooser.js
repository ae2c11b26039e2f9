// A button that says what is chosen, and opens a list of what else there is: typing asks for what fits it. Tells "choose" {value},
// null for none of them. Whoever wires it sets `find`: (typed) → [value].
import { h, say, tell } from "./dom.js";
import { Sheet } from "./sheet.js";
import { frame as strings } from "./strings.js";

let made = 0;

const MANY = 50; // as many as the server lists at the most

class ValueChooser extends HTMLElement {
  find = null;
  #words = null; // {name, none, placeholder, other?: (typed) → words, where what is not listed can be chosen too}
  #value = null;
  #shown = []; // what is listed: {value, label}
  #active = -1;
  #asked = 0;
  #answer = null; // the promise of what is being looked for

  set words(words) { this.#words = words; }

  connectedCallback() {
    if (this.button) return;
    const { name, placeholder } = this.#words;
    const id = `chooser-${++made}`;
    this.label = h("bdi", { class: "label" });
    this.aside = h("span", { class: "aside" });
    this.button = h("button", { type: "button", class: "quiet" }, h("span", { class: "unseen" }, `${name}: `), this.label, this.aside);
    this.input = h("input", {
      type: "text", role: "combobox", "aria-label": name, "aria-expanded": "true", "aria-controls": `${id}-values`, "aria-autocomplete": "list",
      autocomplete: "off", autocapitalize: "off", spellcheck: "false", enterkeyhint: "done", dir: "auto", placeholder, oninput: () => this.#look(),
    });
    this.later = h("p", { class: "aside" }, strings.choiceLater);
    this.list = h("div", { id: `${id}-values`, role: "listbox", "aria-label": name });
    this.rest = h("p", { class: "aside", "aria-live": "polite" });
    this.panel = h("div", {
      class: "sheet", role: "dialog", "aria-label": name, tabindex: "-1", onkeydown: (event) => this.#pressed(event),
      onpointerdown: (event) => event.target !== this.input && event.preventDefault(), // the field keeps the focus
    }, this.input, this.later, this.list, this.rest);
    this.sheet = new Sheet(this.button, this.panel, () => this.#opened());
    this.append(this.button, this.panel);
  }

  // `label` is what the button says of the choice; `running`, that a reply is being written.
  draw({ value, label, aside = "", running }) {
    this.#value = value;
    say(this.label, label);
    say(this.aside, aside);
    this.later.hidden = !running;
  }

  #opened() {
    this.input.value = "";
    this.#list([]);
    // On a phone the keyboard would cover half of the list; a tap into the field brings it up.
    if (matchMedia("(hover: hover)").matches) this.input.focus();
    else this.panel.focus();
    this.#look();
  }

  #look() {
    this.#answer = this.#find(this.input.value.trim());
  }

  async #find(typed) {
    const asked = ++this.#asked;
    let found = [];
    let trouble = "";
    try {
      found = await this.find(typed);
    } catch {
      trouble = strings.nothingToChoose;
    }
    if (asked !== this.#asked) return;
    const { none, other } = this.#words;
    const fits = none.toLowerCase().includes(typed.toLowerCase());
    const unlisted = other && typed && !trouble && !found.includes(typed);
    this.#list([
      ...(fits && !trouble ? [{ value: null, label: none }] : []),
      ...found.map((value) => ({ value, label: value })),
      ...(unlisted ? [{ value: typed, label: other(typed) }] : []),
    ]);
    this.#activate(Math.max(typed ? 0 : this.#shown.findIndex(({ value }) => value === this.#value), 0));
    say(this.rest, trouble || (found.length >= MANY ? strings.typeForMore : this.#shown.length ? "" : strings.nothingFits));
  }

  #list(shown) {
    this.#shown = shown;
    this.list.hidden = shown.length === 0;
    this.list.replaceChildren(...shown.map(({ value, label }, index) => h("div", {
      id: `${this.list.id}-${index}`, role: "option", onclick: () => this.#choose(index),
    }, h("bdi", {}, label), value === this.#value && h("span", { class: "tick" }, h("span", { class: "unseen" }, strings.chosen), h("span", { "aria-hidden": "true" }, "✓")))));
    this.#activate(-1);
  }

  #activate(index) {
    this.#active = this.#shown.length ? index : -1;
    [...this.list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === this.#active)));
    const option = this.list.children[this.#active];
    if (option) this.input.setAttribute("aria-activedescendant", option.id);
    else this.input.removeAttribute("aria-activedescendant");
    option?.scrollIntoView({ block: "nearest" });
  }

  async #pressed(event) {
    if (event.isComposing || event.keyCode === 229) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const { length } = this.#shown;
    if (step && length) this.#activate((this.#active + step + length) % length);
    else if (event.key !== "Enter") return;
    event.preventDefault();
    if (event.key !== "Enter") return;
    await this.#answer; // what is listed may still be for what was typed before
    if (this.sheet.open) this.#choose(this.#active);
  }

  #choose(index) {
    const chosen = this.#shown[index];
    if (!chosen) return;
    this.sheet.close();
    if (chosen.value !== this.#value) tell(this, "choose", { value: chosen.value });
  }
}

customElements.define("value-chooser", ValueChooser);
