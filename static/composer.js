// Where one writes, with the palette that completes a command's name and then its arguments. A draft is kept for each session.
// Tells "submit-line" {text} and "stop". Whoever wires it sets `commands`, and `complete`: (text) → {start, candidates}.
import { h, tell } from "./dom.js";
import "./palette.js";
import { argumentTyped, nameTyped } from "./slash.js";
import { recall, remember } from "./storage.js";

class MessageComposer extends HTMLElement {
  complete = null;
  #commands = [];
  #key = "draft.new";
  #running = false;
  #asked = 0; // only the answer to the latest question counts
  #listed = null; // which argument the listed values are for

  connectedCallback() {
    if (this.field) return;
    this.field = h("textarea", {
      id: "message", rows: "1", dir: "auto", enterkeyhint: "send", autocomplete: "off", "aria-autocomplete": "list", "aria-controls": "commands",
      oninput: () => this.#changed(), onkeydown: (event) => this.#pressed(event), onblur: () => this.#close(),
    });
    this.palette = h("command-palette", { onchoose: ({ detail }) => this.#choose(detail.option) });
    this.stop = h("button", { type: "button", class: "stop", hidden: true, onclick: () => tell(this, "stop") }, "Stop");
    this.send = h("button", { type: "submit", class: "primary" }, "Send");
    this.grow = h("div", { class: "grow" }, this.field);
    this.append(this.palette, h("form", { onsubmit: (event) => { event.preventDefault(); this.#submit(); } },
      h("label", { for: "message", class: "unseen" }, "Message"), this.grow, this.stop, this.send));
    this.#invite();
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

  // Sending goes on meanwhile: the message waits.
  set running(running) {
    if (running === this.#running) return;
    this.#running = running;
    if (document.activeElement === this.stop) this.field.focus();
    this.stop.hidden = !running;
    this.#invite();
  }

  // Back comes what could not be sent, before whatever was typed since. The palette stays away until somebody types: it would
  // cover the reason.
  giveBack(text) {
    this.text = this.text.trim() ? `${text}\n${this.text}` : text;
    this.field.setSelectionRange(this.text.length, this.text.length);
    this.#close();
  }

  focus() { this.field.focus(); }

  #invite() {
    this.field.placeholder = this.#running ? "Write the next message" : "Message, or / for commands";
  }

  #changed() {
    this.grow.dataset.text = this.text; // composer.css measures it
    this.send.disabled = !this.text.trim();
    remember(this.#key, this.text);
    this.#offer();
  }

  #close() {
    this.#asked++;
    this.#listed = null;
    this.palette.close();
    this.#point();
  }

  #offer() {
    const name = nameTyped(this.text);
    const typing = argumentTyped(this.text, this.commands);
    if (document.activeElement !== this.field || (name === null && !typing)) this.#close();
    else if (typing) this.#offerValues(typing);
    else this.#offerCommands(name);
  }

  #offerCommands(typed) {
    this.#close();
    const fitting = this.commands.filter((command) => command.name.startsWith(typed)).sort((a, b) => (b.name === typed) - (a.name === typed));
    this.palette.draw({ label: "Commands", active: 0, options: fitting.map((command) => ({
      value: command.usage, summary: command.summary, mark: this.#now(command),
      line: `/${command.name}${command.arguments.length ? " " : ""}`, exact: command.name === typed,
    })) });
    this.#point();
  }

  // None of them is active before an arrow key says so: Enter then sends what is typed, whatever is listed.
  async #offerValues({ command, index, argument }) {
    const { text } = this;
    const asked = ++this.#asked;
    const place = `${command.name} ${index}`;
    const draw = (options, active) => {
      this.#listed = place;
      this.palette.draw({
        label: `${command.usage}: ${argument.name}`, active,
        hint: { usage: command.usage, summary: argument.summary, mark: this.#now(command) },
        options: options.map((option) => ({ ...option, exact: option.line.trimEnd() === text.trimEnd() })),
      });
      this.#point();
    };
    draw(this.#listed === place ? this.palette.options : []); // the last answer, until the next one is here
    if (!argument.completes) return;
    let answer = { candidates: [] };
    try {
      answer = await this.complete(text);
    } catch {
      // Without a connection there is nothing to choose from; what is typed can still be sent.
    }
    if (asked !== this.#asked) return;
    const before = Array.from(text).slice(0, answer.start).join(""); // `start` counts code points
    const after = index + 1 < command.arguments.length ? " " : "";
    const options = answer.candidates.map(({ value, summary }) => ({ value, summary, line: before + value + after }));
    draw(options, options.findIndex(({ value }) => value === this.palette.active?.value));
  }

  #now(command) {
    return this.#running && command.while_running ? `Now: ${command.while_running}` : null;
  }

  #point() {
    const { activeId } = this.palette;
    if (activeId) this.field.setAttribute("aria-activedescendant", activeId);
    else this.field.removeAttribute("aria-activedescendant");
  }

  #choose({ line }) {
    this.text = line;
    this.field.setSelectionRange(line.length, line.length);
    if (!line.endsWith(" ")) this.#close(); // nothing is left to complete
  }

  #pressed(event) {
    // While an input method is composing, every key is its own; 229 is how some browsers say so.
    if (event.isComposing || event.keyCode === 229) return;
    if (!(event.shiftKey || event.ctrlKey || event.altKey || event.metaKey) && this.#pressedInPalette(event.key)) event.preventDefault();
    else if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      this.#submit();
    }
  }

  // Whether the palette had a use for the key.
  #pressedInPalette(key) {
    const { active, options, hidden } = this.palette;
    const step = { ArrowDown: 1, ArrowUp: -1 }[key];
    if (key === "Escape" && !hidden) this.#close();
    else if (options.length === 0) return false;
    else if (step) {
      this.palette.step(step);
      this.#point();
    } else if (key === "Tab" && (active ?? options[0]).line.trimEnd() !== this.text.trimEnd()) this.#choose(active ?? options[0]);
    else if (key === "Enter" && active && !active.exact) this.#choose(active);
    else return false;
    return true;
  }

  #submit() {
    const { text } = this;
    if (!text.trim()) return;
    this.text = "";
    tell(this, "submit-line", { text });
  }
}

customElements.define("message-composer", MessageComposer);
