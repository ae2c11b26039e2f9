// What the server answered and what went wrong, close to where it was typed. Stays until dismissed or until the next line.
// Tells "choose" {name} when one of the offered commands is taken.
import { h, tell } from "./dom.js";

class NoticeBoard extends HTMLElement {
  connectedCallback() {
    if (this.status) return;
    this.status = h("div", { role: "status" });
    this.alert = h("div", { role: "alert" });
    this.append(this.status, this.alert);
  }

  clear() {
    this.status.replaceChildren();
    this.alert.replaceChildren();
  }

  notice(text) {
    this.#show(this.status, text, []);
  }

  error(text, names = []) {
    this.#show(this.alert, text, names);
  }

  #show(region, text, names) {
    const box = h("div", { class: "notice" },
      h("div", { class: "text", dir: "auto" }, text),
      names.map((name) => h("button", { type: "button", onclick: () => { box.remove(); tell(this, "choose", { name }); } }, `/${name}`)),
      h("button", { type: "button", class: "quiet", "aria-label": "Dismiss", onclick: () => { box.remove(); tell(this, "dismiss"); } }, "✕"));
    region.replaceChildren(box);
  }
}

customElements.define("notice-board", NoticeBoard);
