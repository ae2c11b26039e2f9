// What the server answered and what went wrong, close to where it was typed. Stays until dismissed or until the next line;
// what can only be undone here, for a while longer.
// Tells "leave" when what had the focus is no longer there.
//
// An action is {label, act}: a button that takes the notice away and calls `act`.
import { h, tell } from "./dom.js";
import { composer as strings } from "./strings.js";

const WHILE = 30_000; // milliseconds that a lasting notice stays whatever one does

class NoticeBoard extends HTMLElement {
  connectedCallback() {
    if (this.status) return;
    this.status = h("div", { role: "status" });
    this.alert = h("div", { role: "alert" });
    this.append(this.status, this.alert);
  }

  clear() {
    this.#keepingFocus(() => this.querySelectorAll(".notice").forEach((box) => { if (!(box.until > Date.now())) box.remove(); }));
  }

  notice(text, actions = [], { lasting = false } = {}) {
    this.#show(this.status, text, actions, lasting ? Date.now() + WHILE : 0);
  }

  error(text, actions = []) {
    this.#show(this.alert, text, actions);
  }

  // One of a kind: beside what lasts `until` a time there may be what does not.
  #show(region, text, actions, until = 0) {
    const close = (act) => this.#keepingFocus(() => { box.remove(); act?.(); });
    const box = h("div", { class: "notice" },
      h("div", { class: "said" }, h("div", { class: "text", dir: "auto" }, text),
        actions.length > 0 && h("div", { class: "ways" }, actions.map(({ label, act }) => h("button", { type: "button", onclick: () => close(act) }, label)))),
      h("button", { type: "button", class: "quiet", "aria-label": strings.dismiss, onclick: () => close() }, "✕"));
    box.until = until;
    this.#keepingFocus(() => region.replaceChildren(...[...region.children].filter((one) => !until && one.until > Date.now()), box));
  }

  #keepingFocus(change) {
    const within = this.contains(document.activeElement);
    change();
    if (within && document.activeElement === document.body) tell(this, "leave");
  }
}

customElements.define("notice-board", NoticeBoard);
