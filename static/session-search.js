// The field that searches all sessions. Tells "search-sessions" {query}, once one pauses, and "to-sessions" when an arrow key leads
// on to them.
import { MOST_FOUND } from "./api.js";
import { h, say, tell } from "./dom.js";
import { sessions as strings } from "./strings.js";

const PAUSE = 150; // milliseconds between two keys

class SessionSearch extends HTMLElement {
  #told = "";
  #pause = 0;

  connectedCallback() {
    if (this.field) return;
    this.field = h("input", {
      type: "search", dir: "auto", "aria-label": strings.search, placeholder: strings.search, autocomplete: "off", enterkeyhint: "search",
      oninput: () => this.#changed(), onkeydown: (event) => this.#pressed(event),
    });
    this.status = h("p", { role: "status", class: "aside" });
    this.append(h("search", {}, this.field), this.status);
  }

  // What was found: {query, sessions}, or null.
  draw(found) {
    if (!found) say(this.status, "");
    else if (found.sessions) say(this.status, (found.sessions.length < MOST_FOUND ? strings.found : strings.foundMost)(found.sessions.length));
  }

  clear() {
    this.field.value = "";
    this.#tell();
  }

  #changed() {
    clearTimeout(this.#pause);
    // A field that was emptied shows all of them at once.
    if (this.field.value.trim()) this.#pause = setTimeout(() => this.#tell(), PAUSE);
    else this.#tell();
  }

  #tell() {
    clearTimeout(this.#pause);
    const query = this.field.value.trim();
    if (query === this.#told) return;
    this.#told = query;
    tell(this, "search-sessions", { query });
  }

  #pressed(event) {
    if (event.isComposing || event.keyCode === 229) return;
    if (event.key === "Escape" && this.field.value) {
      event.stopPropagation(); // the drawer stays open
      this.clear();
    } else if (event.key === "ArrowDown") tell(this, "to-sessions");
    else if (event.key === "Enter") {
      this.#told = null; // also what was asked already, which may have failed
      this.#tell();
    }
    else return;
    event.preventDefault();
  }
}

customElements.define("session-search", SessionSearch);
