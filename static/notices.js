// What the server answered and what went wrong, close to where it was typed. Stays until dismissed or until the next line.
// Tells "leave" when what had the focus is no longer there.
//
// An action is {label, act}: a button that takes the notice away and calls `act`.
import { h, tell } from "./dom.js";
import { composer as strings } from "./strings.js";

class NoticeBoard extends HTMLElement {
  connectedCallback() {
    if (this.status) return;
    this.status = h("div", { role: "status" });
    this.alert = h("div", { role: "alert" });
    this.append(this.status, this.alert);
  }

  clear() {
    this.#keepingFocus(() => [this.status, this.alert].forEach((region) => region.replaceChildren()));
  }

  notice(text, actions = []) {
    this.#show(this.status, text, actions);
  }

  error(text, actions = []) {
    this.#show(this.alert, text, actions);
  }

  #show(region, text, actions) {
    const close = (act) => this.#keepingFocus(() => { box.remove(); act?.(); });
    const box = h("div", { class: "notice" },
      h("div", { class: "said" }, h("div", { class: "text", dir: "auto" }, text),
        actions.length > 0 && h("div", { class: "ways" }, actions.map(({ label, act }) => h("button", { type: "button", onclick: () => close(act) }, label)))),
      h("button", { type: "button", class: "quiet", "aria-label": strings.dismiss, onclick: () => close() }, "✕"));
    this.#keepingFocus(() => region.replaceChildren(box));
  }

  #keepingFocus(change) {
    const within = this.contains(document.activeElement);
    change();
    if (within && document.activeElement === document.body) tell(this, "leave");
  }
}

customElements.define("notice-board", NoticeBoard);
