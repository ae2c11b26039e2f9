// The lines that the server has not acknowledged, below the transcript; and that a reply does not go on while nothing is heard of it.
// Tells "send-anyway" {id} and "take-back" {id}, and "leave" when what had the focus is no longer there.
import { h, hide, say, tell } from "./dom.js";
import { connection as strings } from "./strings.js";
import { canTakeBack } from "./unsent.js";

class UnsentLines extends HTMLElement {
  #items = new Map();

  connectedCallback() {
    if (this.list) return;
    this.paused = h("p", { class: "mark paused", hidden: true }, strings.replyPaused);
    this.list = h("ul", { class: "pending", "aria-label": strings.unsentLines, hidden: true });
    this.append(this.paused, this.list);
  }

  // Elements are kept, so that the focus is. `lines` as unsent.js has them.
  draw({ lines, connected, running }) {
    const focused = this.contains(document.activeElement);
    this.paused.hidden = connected || !running;
    this.list.hidden = lines.length === 0;
    this.list.classList.toggle("connected", connected);
    const wanted = new Set(lines.map(({ op_id: id }) => id));
    for (const [id, item] of this.#items) {
      if (wanted.has(id)) continue;
      item.remove();
      this.#items.delete(id);
    }
    for (const line of lines) {
      const id = line.op_id;
      if (!this.#items.has(id)) this.#items.set(id, this.list.appendChild(this.#item(line)));
      this.#items.get(id).draw(line, connected);
    }
    if (focused && !this.contains(document.activeElement)) tell(this, "leave");
  }

  #item({ op_id: id, text, at }) {
    const mark = h("p", { class: "mark" });
    const send = h("button", { type: "button", onclick: () => tell(this, "send-anyway", { id }) }, strings.sendAnyway);
    const back = h("button", { type: "button", onclick: () => tell(this, "take-back", { id }) }, strings.takeBack);
    const item = h("li", {}, h("div", { class: "text", dir: "auto" }, text), h("div", { class: "about" }, mark, send, back));
    item.draw = (line, connected) => {
      if (line.held) say(mark, strings.held(Date.now() - at));
      else if (connected) say(mark, line.waits ? strings.waits : strings.sending);
      else say(mark, line.sent ? strings.unconfirmed : strings.notSent);
      item.classList.toggle("held", Boolean(line.held));
      hide(send, !line.held, () => tell(this, "leave"));
      hide(back, !canTakeBack(line), () => tell(this, "leave"));
    };
    return item;
  }
}

customElements.define("unsent-lines", UnsentLines);
