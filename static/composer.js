// Where one writes. Once `/` and the beginning of a name are typed, the commands that fit are listed above.
// Tells "submit-line" {text} and "stop". A draft is kept for each session.
import { h, tell } from "./dom.js";
import { recall, remember } from "./storage.js";

class MessageComposer extends HTMLElement {
  #commands = [];
  #key = "draft.new";
  #offered = [];
  #active = 0;
  #running = false;

  connectedCallback() {
    if (this.field) return;
    this.field = h("textarea", {
      id: "message", rows: "1", placeholder: "Message, or / for commands", dir: "auto", enterkeyhint: "send",
      autocomplete: "off", "aria-autocomplete": "list", "aria-controls": "commands",
      oninput: () => this.#changed(), onkeydown: (event) => this.#pressed(event), onblur: () => this.#offer([]),
    });
    this.list = h("ul", { id: "commands", role: "listbox", "aria-label": "Commands", hidden: true });
    this.send = h("button", { type: "submit", class: "primary" }, "Send");
    this.stop = h("button", { type: "button", class: "primary", hidden: true, onclick: () => tell(this, "stop") }, "Stop");
    this.grow = h("div", { class: "grow" }, this.field);
    this.append(this.list, h("form", { onsubmit: (event) => { event.preventDefault(); this.#submit(); } },
      h("label", { for: "message", class: "unseen" }, "Message"), this.grow, this.send, this.stop));
    this.#changed();
  }

  // Switches to the draft of another session, or of the one not made yet.
  // What was typed while that one was being made moves along with `carry`.
  open(id, carry) {
    const typed = carry ? this.text : null;
    if (carry) remember(this.#key, null);
    this.#key = `draft.${id ?? "new"}`;
    this.text = typed ?? recall(this.#key) ?? "";
  }

  get commands() { return this.#commands; }

  // They may come after the first `/` was typed.
  set commands(commands) {
    const first = this.#commands.length === 0;
    this.#commands = commands;
    if (first) this.#changed();
  }

  get text() { return this.field.value; }

  set text(value) {
    this.field.value = value;
    this.#changed();
  }

  set running(running) {
    if (running === this.#running) return;
    this.#running = running;
    const focused = document.activeElement === this.send || document.activeElement === this.stop;
    this.stop.hidden = !running;
    this.send.hidden = running;
    if (focused) this.field.focus();
  }

  // Back comes what could not be sent, before whatever was typed since.
  giveBack(text) {
    this.text = this.text.trim() ? `${text}\n${this.text}` : text;
    this.field.setSelectionRange(this.text.length, this.text.length);
  }

  focus() { this.field.focus(); }

  #changed() {
    this.grow.dataset.text = this.text; // style.css measures it
    this.send.disabled = !this.text.trim();
    remember(this.#key, this.text);
    const name = /^\s*\/([a-z][a-z0-9_-]*)?$/i.exec(this.text);
    const typed = (name?.[1] ?? "").toLowerCase();
    this.#offer(name && document.activeElement === this.field ? this.commands.filter((command) => command.name.startsWith(typed))
      .sort((a, b) => (b.name === typed) - (a.name === typed)) : []);
  }

  #offer(commands) {
    this.#offered = commands;
    this.list.hidden = commands.length === 0;
    this.list.replaceChildren(...commands.map((command, index) => h("li", {
      id: `command-${index}`, role: "option",
      onpointerdown: (event) => event.preventDefault(), // the field keeps the focus
      onclick: () => this.#complete(command),
    }, h("code", {}, command.usage), h("span", {}, command.summary),
    this.#running && command.while_running && h("span", { class: "mark" }, `Now: ${command.while_running}`))));
    this.#activate(0);
  }

  #activate(index) {
    const count = this.#offered.length;
    this.#active = count ? (index + count) % count : 0;
    [...this.list.children].forEach((option, at) => option.setAttribute("aria-selected", String(at === this.#active)));
    const option = this.list.children[this.#active];
    option?.scrollIntoView({ block: "nearest" });
    if (option) this.field.setAttribute("aria-activedescendant", option.id);
    else this.field.removeAttribute("aria-activedescendant");
  }

  #complete(command) {
    this.text = `/${command.name}${command.arguments?.length ? " " : ""}`;
    this.field.setSelectionRange(this.text.length, this.text.length);
  }

  #pressed(event) {
    // While an input method is composing, every key is its own; 229 is how some browsers say so.
    if (event.isComposing || event.keyCode === 229) return;
    const plain = !(event.shiftKey || event.ctrlKey || event.altKey || event.metaKey);
    const active = this.#offered[this.#active];
    if (active && plain) {
      const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      if (step) this.#activate(this.#active + step);
      else if (event.key === "Tab") this.#complete(active);
      else if (event.key === "Escape") this.#offer([]);
      else if (event.key === "Enter" && `/${active.name}` !== this.text.trim().toLowerCase()) this.#complete(active);
      else if (event.key !== "Enter") return;
      else this.#submit();
      event.preventDefault();
    } else if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      this.#submit();
    }
  }

  #submit() {
    const { text } = this;
    if (!text.trim()) return;
    this.text = "";
    tell(this, "submit-line", { text });
  }
}

customElements.define("message-composer", MessageComposer);
