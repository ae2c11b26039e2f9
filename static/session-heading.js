// What is open: its title, which can be changed in place, and in a line what there is to know of it; and the menu of what can be done
// with it. Tells "rename-session" {id, title}, "delete-session" {id} and "show-people".
import { h, say, tell } from "./dom.js";
import { menuButton } from "./menu.js";
import { sessionActions } from "./session-actions.js";
import { connection, sessions as strings } from "./strings.js";
import { titleField } from "./title-field.js";

class SessionHeading extends HTMLElement {
  #session = null;

  connectedCallback() {
    if (this.heading) return;
    this.heading = h("h1", { id: "title", dir: "auto", ondblclick: () => this.rename() }, document.title);
    this.facts = h("p", { id: "subtitle" });
    this.more = menuButton({ class: "quiet more", "aria-label": strings.actionsHere, hidden: true },
      () => sessionActions(this, this.#session.session_id, () => this.rename(), [
        { label: connection.changeName, run: () => tell(this, "show-people") },
      ]), "⋯");
    this.append(h("div", { class: "heading" }, this.heading, this.facts), this.more);
  }

  // `session` is null where there is nothing that could be done with it.
  draw({ title, facts, session }) {
    this.#session = session;
    say(this.heading, title);
    say(this.facts, facts.filter(Boolean).join(" · "));
    this.more.hidden = !session;
  }

  rename() {
    if (!this.#session || this.heading.hidden) return;
    const { session_id: id, title } = this.#session;
    const field = titleField(title, (next, back) => {
      this.heading.hidden = false;
      field.remove();
      if (back) this.more.focus();
      if (next !== undefined) tell(this, "rename-session", { id, title: next });
    });
    this.heading.hidden = true;
    this.heading.after(field);
    field.focus();
    field.select();
  }
}

customElements.define("session-heading", SessionHeading);
