// Who has the session open: how many, hidden while one is alone; and a panel with their names and a field for one's own.
// The button tells "show-people"; the panel tells "call-myself" {name}.
import { h, say, tell } from "./dom.js";
import { connection as strings } from "./strings.js";

// Of many not all are named. `mine` are one's own connections: one that is lost may still be there.
function named({ count, present }, mine) {
  const names = present.map(({ connection, name }) => (mine.includes(connection) ? strings.you(name) : name));
  return count > names.length ? [...names, strings.others(count - names.length)] : names;
}

class WhoIsHere extends HTMLElement {
  connectedCallback() {
    if (this.count) return;
    this.count = h("span", {});
    this.names = h("span", { class: "unseen" });
    this.button = h("button", { type: "button", class: "quiet", "aria-haspopup": "dialog", onclick: () => tell(this, "show-people") }, this.count, this.names);
    this.append(this.button);
  }

  draw(presence, mine) {
    const names = named(presence, mine);
    if (presence.count < 2 && this.contains(document.activeElement)) tell(this, "leave");
    this.hidden = presence.count < 2;
    this.title = names.join("\n");
    say(this.count, strings.here(presence.count));
    this.names.replaceChildren(": ", ...names.flatMap((name, at) => (at > 0 ? [", ", h("bdi", {}, name)] : [h("bdi", {}, name)])));
  }
}

class PeoplePanel extends HTMLElement {
  #waiting = false; // for the server to take the name

  connectedCallback() {
    if (this.dialog) return;
    this.list = h("ul");
    this.field = h("input", { id: "my-name", type: "text", dir: "auto", autocomplete: "nickname", "aria-describedby": "my-name-hint my-name-problem" });
    this.problem = h("p", { id: "my-name-problem", role: "alert" });
    this.dialog = h("dialog", { class: "people", "aria-labelledby": "people-title", closedby: "any" },
      h("h2", { id: "people-title" }, strings.people), this.list,
      h("form", { onsubmit: (event) => { event.preventDefault(); this.#save(); } },
        h("label", { for: "my-name" }, strings.yourName),
        h("div", { class: "row" }, this.field, h("button", { type: "submit", class: "primary" }, strings.saveName)),
        h("p", { id: "my-name-hint", class: "aside" }, strings.nameHint), this.problem),
      h("div", { class: "actions" }, h("button", { type: "button", onclick: () => this.dialog.close() }, strings.close)));
    this.append(this.dialog);
  }

  open(name) {
    this.field.value = name ?? "";
    say(this.problem, "");
    this.dialog.showModal();
    this.field.select();
  }

  draw(presence, mine) {
    this.list.replaceChildren(...named(presence, mine).map((name) => h("li", { dir: "auto" }, name)));
  }

  // The server did not take the name, or did.
  refused(message) {
    this.#waiting = false;
    say(this.problem, message);
    if (this.dialog.open) this.field.select();
  }

  taken() {
    if (!this.#waiting) return;
    this.#waiting = false;
    say(this.problem, "");
    this.dialog.close();
  }

  #save() {
    const name = this.field.value.trim();
    if (!name) return this.refused(strings.nameEmpty);
    this.#waiting = true;
    tell(this, "call-myself", { name });
  }
}

customElements.define("who-is-here", WhoIsHere);
customElements.define("people-panel", PeoplePanel);
