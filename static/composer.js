// Where one writes, with the palette that completes a command's name and then its arguments. A draft is kept for each session; the
// text of a message that is being edited has the field for a while, and the draft comes back after it.
//
// Tells "submit-line" {text}, "submit-edit" {id, text}, "edit-last" and "stop". Whoever wires it sets `commands`, and `complete`:
// (text) → {start, candidates}.
import { h, say, tell } from "./dom.js";
import { listed, used } from "./fitting.js";
import { untilShown } from "./marks.js";
import "./palette.js";
import { argumentTyped, commandName, nameTyped } from "./slash.js";
import { recall, remember } from "./storage.js";
import { composer as strings } from "./strings.js";

// The keyboards of phones have no other key for a new line.
const TOUCH = matchMedia("(hover: none) and (pointer: coarse)");
const LONG = 8000; // characters that are higher than the field gets, however short its screen makes the lines

class MessageComposer extends HTMLElement {
  complete = null;
  #commands = [];
  #session = null; // none before open() says which: what was written there is still to be recalled
  #running = false;
  #editing = null; // {id, parts}
  #draft = ""; // what waits while a message is edited
  #asked = 0; // only the answer to the latest question counts
  #listed = null; // what the listed options are for: {place, text}
  #dismissed = false; // whether the palette was put away since the text changed

  connectedCallback() {
    if (this.field) return;
    this.field = h("textarea", {
      id: "message", rows: "1", dir: "auto", enterkeyhint: TOUCH.matches ? "enter" : "send", autocomplete: "off",
      oninput: (event) => this.#typed(event), onkeydown: (event) => this.#pressed(event), onblur: () => this.#close(),
    });
    this.palette = h("command-palette", { onchoose: ({ detail }) => this.#choose(detail.option) });
    this.what = h("span");
    this.edits = h("div", { class: "editing", hidden: true }, this.what,
      h("button", { type: "button", class: "quiet", "aria-label": strings.cancelEdit, onclick: () => this.#cancel() }, "✕"));
    this.said = h("p", { class: "unseen", "aria-live": "polite" });
    this.stop = h("button", { type: "button", class: "stop", hidden: true, onclick: () => tell(this, "stop") }, strings.stop);
    this.send = h("button", {
      type: "submit", class: "primary", onpointerdown: (event) => event.preventDefault(), // the field keeps the focus, and a phone its keyboard
    }, strings.send);
    this.grow = h("div", { class: "grow" }, this.field);
    this.append(this.palette, this.said, h("form", { onsubmit: (event) => { event.preventDefault(); this.#submit(); } },
      this.edits, h("label", { for: "message", class: "unseen" }, strings.message), this.grow, this.stop, this.send));
    this.#invite();
    this.#changed();
  }

  // Switches to what is being written in another session, or in the one not made yet.
  // What was typed while that one was being made moves along with `carry`.
  open(id, carry) {
    const typed = carry ? this.text : null;
    if (carry) remember(`draft.${this.#session}`, null);
    this.#session = id ?? "new";
    this.#show(null);
    this.text = typed ?? recall(`draft.${this.#session}`) ?? "";
    const edit = recall(`edit.${this.#session}`);
    if (edit) this.#edit(edit);
  }

  get commands() { return this.#commands; }

  // They may come after the first `/` was typed.
  set commands(commands) {
    const first = this.#commands.length === 0;
    this.#commands = commands;
    if (first) this.#changed();
  }

  // The draft, also while it waits.
  get text() { return this.#editing ? this.#draft : this.field.value; }

  set text(value) {
    if (this.#editing) this.#keep(value);
    else this.#write(value);
  }

  // The message that is being edited, by its id; null where none is.
  get editing() { return this.#editing?.id ?? null; }

  // Sending goes on meanwhile: the message waits.
  set running(running) {
    if (running === this.#running) return;
    this.#running = running;
    if (document.activeElement === this.stop) this.field.focus();
    this.stop.hidden = !running;
    this.#invite();
    this.#show(this.#editing);
    if (!this.palette.hidden) this.#offer();
  }

  // Back comes what could not be sent, before whatever was typed since. The palette stays away until somebody types: it would
  // cover the reason.
  giveBack(text) {
    this.text = this.text.trim() ? `${text}\n${this.text}` : text;
    if (this.#editing) return;
    this.field.setSelectionRange(this.text.length, this.text.length);
    this.#dismiss();
  }

  // The same, for a session that is not open.
  keepFor(id, text) {
    const draft = recall(`draft.${id}`);
    remember(`draft.${id}`, draft?.trim() ? `${text}\n${draft}` : text);
  }

  // Puts the text of a message into the field, to be sent in its place. `parts` counts what else it has, which stays.
  edit(message) {
    this.#edit(message);
    this.#announce(strings.editingHeard(message.id));
    this.focus();
  }

  focus() { this.field.focus(); }

  #edit({ id, text, parts = 0 }) {
    if (!this.#editing) this.#draft = this.field.value;
    this.#show({ id, parts });
    this.#write(text);
    this.field.setSelectionRange(text.length, text.length);
  }

  #cancel() {
    this.#endEdit();
    this.#announce(strings.editCancelled);
    this.focus();
  }

  #endEdit() {
    this.#show(null);
    remember(`edit.${this.#session}`, null);
    this.#write(this.#draft);
    this.field.setSelectionRange(this.#draft.length, this.#draft.length);
  }

  #show(editing) {
    this.#editing = editing;
    this.edits.hidden = !editing;
    this.classList.toggle("is-editing", Boolean(editing));
    if (!editing) return;
    const now = this.#now(this.#commands.find(({ name }) => name === "edit"));
    this.what.replaceChildren(...[
      h("strong", {}, strings.editing(editing.id)),
      h("span", { class: "keys" }, strings.escapeCancels),
      editing.parts > 0 && h("span", {}, strings.partsStay(editing.parts)),
      now && h("span", { class: "now" }, now),
    ].filter(Boolean));
  }

  // A screen reader hears the same words again where they are said anew.
  #announce(text) {
    say(this.said, "");
    say(this.said, text);
  }

  #invite() {
    this.field.placeholder = this.#running ? strings.inviteNext : strings.invite;
  }

  #write(value) {
    this.field.value = value;
    this.field.dir = "auto"; // of another text, see #measure
    this.grow.classList.remove("long");
    this.#changed();
  }

  #keep(draft) {
    this.#draft = draft;
    remember(`draft.${this.#session}`, draft);
  }

  #typed(event) {
    this.#changed();
    if (!this.palette.hidden) untilShown("key-to-palette", event.timeStamp);
  }

  #changed() {
    const { value } = this.field;
    this.#measure(value);
    this.#dismissed = false;
    this.send.disabled = this.#nothingToSend;
    if (this.#editing) remember(`edit.${this.#session}`, { ...this.#editing, text: value });
    else if (this.#session !== null) remember(`draft.${this.#session}`, value);
    this.#offer();
  }

  // composer.css gives the field the height of its text. With a long one that, and finding its direction anew, would make each key slow.
  #measure(value) {
    const long = value.length > LONG;
    this.grow.dataset.text = long ? "" : value;
    if (this.grow.classList.toggle("long", long) === (this.field.dir !== "auto")) return;
    this.field.dir = !long ? "auto" : this.field.matches(":dir(rtl)") ? "rtl" : "ltr";
  }

  // A slash alone begins a command: nobody means it as a message, unless they put the list away.
  get #nothingToSend() {
    const { value } = this.field;
    return !value.trim() || (!this.#editing && nameTyped(value) === "" && !this.#dismissed);
  }

  #dismiss() {
    this.#dismissed = true;
    this.send.disabled = this.#nothingToSend;
    this.#close();
  }

  #close() {
    this.#asked++;
    this.#listed = null;
    this.palette.close();
    this.#point();
  }

  #offer() {
    const { value } = this.field;
    const name = nameTyped(value);
    const typing = argumentTyped(value, this.commands);
    const wanted = document.activeElement === this.field && !this.#editing;
    if (!wanted || (name === null && !typing)) this.#close();
    else if (typing) this.#offerValues(typing);
    else this.#offerCommands(name);
  }

  // Enter takes the first name that fits what is typed; with nothing typed, or where only a summary fits, none is active before
  // an arrow key says so.
  #offerCommands(typed) {
    const before = this.#activeBefore;
    this.#asked++;
    this.#listed = { place: "/", text: this.field.value };
    const groups = listed(this.commands, typed, recall("recent", "localStorage") ?? []);
    const flat = groups.flatMap(({ commands }) => commands);
    const at = before ? flat.findIndex(({ usage }) => usage === before) : flat.findIndex(({ name }) => name === typed);
    const likely = at < 0 && typed && groups[0]?.group !== "mentioned" ? 0 : at;
    this.palette.draw({ label: strings.commands, active: flat.length ? likely : -1, groups: groups.map(({ group, commands }) => ({
      label: strings.groups[group] ?? group,
      options: commands.map((command) => ({
        value: command.usage, summary: command.summary, mark: this.#now(command),
        line: `/${command.name}${command.arguments.length ? " " : ""}`, exact: command.name === typed,
      })),
    })) });
    this.#point();
  }

  // None of them is active before an arrow key says so: Enter then sends what is typed, whatever is listed.
  async #offerValues({ command, index, argument }) {
    const { value: text } = this.field;
    const asked = ++this.#asked;
    const place = `${command.name} ${index}`;
    const before = this.#activeBefore;
    const held = this.#listed?.place === place ? this.palette.options : []; // the last answer, until the next one is here
    const draw = (options, active) => {
      this.#listed = { place, text };
      this.palette.draw({
        label: strings.values(command.usage, argument.name), active,
        hint: { usage: command.usage, place: index + 1, summary: argument.summary, type: strings.types[argument.type], mark: this.#now(command) },
        groups: [{ options: options.map((option) => ({ ...option, exact: option.line.trimEnd() === text.trimEnd() })) }],
      });
      this.#point();
    };
    draw(held, held.findIndex(({ value }) => value === before));
    if (!argument.completes) return;
    let answer = { candidates: [] };
    try {
      answer = await this.complete(text);
    } catch {
      // Without a connection there is nothing to choose from; what is typed can still be sent.
    }
    if (asked !== this.#asked) return;
    const beginning = Array.from(text).slice(0, answer.start).join(""); // `start` counts code points
    const after = index + 1 < command.arguments.length ? " " : "";
    const options = answer.candidates.map(({ value, summary }) => ({ value, summary, line: beginning + value + after }));
    draw(options, options.findIndex(({ value }) => value === this.palette.active?.value));
  }

  // What was active, where the same text is looked at again: a reply may have begun or ended.
  get #activeBefore() {
    return this.#listed?.text === this.field.value ? this.palette.active?.value : null;
  }

  #now(command) {
    return this.#running && command?.while_running ? strings.now(command.while_running) : null;
  }

  // A combobox only as long as there is a list: otherwise it is a place for text like any other, and is to be read as one.
  #point() {
    const { activeId, list, options } = this.palette;
    const combobox = options.length > 0 && { role: "combobox", "aria-expanded": "true", "aria-controls": list.id, "aria-autocomplete": "list", "aria-haspopup": "listbox" };
    const wanted = { role: null, "aria-expanded": null, "aria-controls": null, "aria-autocomplete": null, "aria-haspopup": null, ...combobox, "aria-activedescendant": activeId };
    for (const [name, value] of Object.entries(wanted)) {
      if (value === null) this.field.removeAttribute(name);
      else this.field.setAttribute(name, value);
    }
  }

  #choose({ line }) {
    this.#write(line);
    this.field.setSelectionRange(line.length, line.length);
    if (!line.endsWith(" ")) this.#dismiss(); // nothing is left to complete
  }

  #pressed(event) {
    // While an input method is composing, every key is its own; 229 is how some browsers say so.
    if (event.isComposing || event.keyCode === 229) return;
    const plain = !(event.shiftKey || event.ctrlKey || event.altKey || event.metaKey);
    if (plain && (this.#pressedInPalette(event.key) || this.#pressedToEdit(event.key))) event.preventDefault();
    else if (event.key === "Enter" && !event.shiftKey && !event.altKey && !this.#breaksLine(event)) {
      event.preventDefault();
      this.#submit();
    }
  }

  // On a phone Enter sends commands only; there is a button beside it.
  #breaksLine({ ctrlKey, metaKey }) {
    return TOUCH.matches && !ctrlKey && !metaKey && (this.#editing !== null || commandName(this.field.value, this.commands) === null);
  }

  // Whether the palette had a use for the key.
  #pressedInPalette(key) {
    const { active, options, hidden } = this.palette;
    const step = { ArrowDown: 1, ArrowUp: -1 }[key];
    if (key === "Escape" && !hidden) this.#dismiss();
    else if (options.length === 0) return false;
    else if (step) {
      this.palette.step(step);
      this.#point();
    } else if (key === "Tab" && (active ?? options[0]).line.trimEnd() !== this.field.value.trimEnd()) this.#choose(active ?? options[0]);
    else if (key === "Enter" && active && !active.exact) this.#choose(active);
    else return false;
    return true;
  }

  // Whether the key began or ended an edit.
  #pressedToEdit(key) {
    if (key === "Escape" && this.#editing) this.#cancel();
    else if (key === "ArrowUp" && !this.#editing && !this.field.value) tell(this, "edit-last");
    else return false;
    return true;
  }

  #submit() {
    if (this.#nothingToSend) return;
    if (document.activeElement === this.send) this.focus(); // with nothing left to send it is disabled
    const { value: text } = this.field;
    if (this.#editing) {
      const { id } = this.#editing;
      tell(this, "submit-edit", { id, text: text.trim() });
      return;
    }
    const name = commandName(text, this.commands);
    if (this.commands.some((command) => command.name === name)) remember("recent", used(recall("recent", "localStorage") ?? [], name), "localStorage");
    this.#write("");
    tell(this, "submit-line", { text });
  }

  // The edit is on its way: the draft comes back.
  edited() { this.#endEdit(); }
}

customElements.define("message-composer", MessageComposer);
