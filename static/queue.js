// The messages that wait for the end of a reply. Tells "take-out" {id}, "go-on", and "leave" when what had the focus is no longer there.
import { h, say, tell } from "./dom.js";
import { composer as strings } from "./strings.js";

class MessageQueue extends HTMLElement {
  #items = new Map();

  connectedCallback() {
    if (this.list) return;
    this.when = h("span", { class: "aside" });
    this.go = h("button", { type: "button", onclick: () => tell(this, "go-on") });
    this.list = h("ul", { "aria-labelledby": "waiting", "aria-live": "polite", "aria-relevant": "additions" });
    this.append(
      h("div", { class: "top" }, h("h2", { id: "waiting" }, strings.waiting), h("p", { "aria-live": "polite" }, this.when), this.go), this.list);
    this.hidden = true;
  }

  // Elements are kept, so that the focus is.
  draw({ queue, paused, running }) {
    say(this.when, paused ? strings.paused : strings.untilEnd);
    say(this.go, running ? strings.goOn : strings.sendNow);
    if (!paused && document.activeElement === this.go) tell(this, "leave");
    this.go.hidden = !paused;
    const at = [...this.list.children].findIndex((item) => item.contains(document.activeElement));
    const wanted = new Set(queue.map(({ id }) => id));
    for (const [id, item] of this.#items) {
      if (wanted.has(id)) continue;
      item.remove();
      this.#items.delete(id);
    }
    for (const waiting of queue) {
      if (this.#items.has(waiting.id)) continue;
      const item = this.#item(waiting);
      this.#items.set(waiting.id, item);
      this.list.append(item);
    }
    if (at >= 0 && !this.list.contains(document.activeElement)) this.#focus(at);
    this.hidden = queue.length === 0;
  }

  // On the button that took a removed one's place.
  #focus(at) {
    const item = this.list.children[at] ?? this.list.lastElementChild;
    if (item) item.querySelector("button").focus();
    else tell(this, "leave");
  }

  #item({ id, preview }) {
    const text = preview || strings.noText;
    return h("li", {}, h("span", { class: "text", dir: "auto" }, text), h("button", {
      type: "button", class: "quiet", title: strings.takeOutHint, "aria-label": strings.takeOutOf(text),
      onclick: () => tell(this, "take-out", { id }),
    }, strings.takeOut));
  }
}

customElements.define("message-queue", MessageQueue);
