// What is open: its title, and in a line what there is to know of it.
import { h, say } from "./dom.js";

class SessionHeading extends HTMLElement {
  connectedCallback() {
    if (this.heading) return;
    this.heading = h("h1", { id: "title", dir: "auto" }, document.title);
    this.facts = h("p", { id: "subtitle" });
    this.append(this.heading, this.facts);
  }

  draw(title, facts) {
    say(this.heading, title);
    say(this.facts, facts.filter(Boolean).join(" · "));
  }
}

customElements.define("session-heading", SessionHeading);
