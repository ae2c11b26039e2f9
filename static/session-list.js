// The sessions, newest first. Tells "new-session", "open-session" {id}, "delete-session" {id} (after asking) and "more-sessions".
import { h, sessionLink, tell } from "./dom.js";
import { plural } from "./figures.js";

export const titleOf = (session) => session.title || "Untitled session";

class SessionList extends HTMLElement {
  #doomed = null;

  connectedCallback() {
    if (this.list) return;
    this.list = h("ul");
    this.more = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => tell(this, "more-sessions") }, "Show more sessions");
    this.question = h("p", { id: "question" });
    this.dialog = h("dialog", { "aria-labelledby": "question" }, this.question,
      h("p", { class: "aside" }, "It goes away for everyone who has it open."),
      h("div", { class: "actions" },
        h("button", { type: "button", onclick: () => this.dialog.close() }, "Cancel"),
        h("button", { type: "button", class: "danger", onclick: () => { this.dialog.close(); tell(this, "delete-session", { id: this.#doomed }); } }, "Delete")));
    this.append(
      h("button", { type: "button", class: "new", onclick: () => tell(this, "new-session") }, "New session"),
      h("nav", { "aria-label": "Sessions" }, this.list, this.more), this.dialog);
  }

  draw({ sessions, current, more }) {
    const focused = this.list.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    this.list.replaceChildren(...sessions.map((session) => this.#item(session, current)));
    this.more.hidden = !more;
    if (focused) this.list.querySelector(`[data-focus="${focused}"]`)?.focus();
  }

  #item(session, current) {
    const { session_id: id, message_count: count = 0, agent_running: running } = session;
    const link = sessionLink(id, { "aria-current": id === current && "page", "data-focus": `open-${id}` },
      h("bdi", { dir: "auto" }, titleOf(session)),
      h("span", { class: "aside" }, `${running ? "Replying…" : ago(session.updated_at)} · ${plural(count, "message")}`));
    return h("li", {}, link, h("button", {
      type: "button", class: "quiet", "data-focus": `delete-${id}`, "aria-label": `Delete session: ${titleOf(session)}`,
      onclick: () => this.#ask(session),
    }, "✕"));
  }

  #ask(session) {
    this.#doomed = session.session_id;
    this.question.replaceChildren("Delete “", h("bdi", {}, titleOf(session)), "”?");
    this.dialog.showModal();
  }
}

const UNITS = [["year", 31_536_000], ["month", 2_592_000], ["week", 604_800], ["day", 86_400], ["hour", 3600], ["minute", 60]];
const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

function ago(seconds) {
  const passed = Date.now() / 1000 - seconds;
  const [unit, length] = UNITS.find(([, one]) => passed >= one) ?? [];
  return unit ? relative.format(-Math.floor(passed / length), unit) : "just now";
}

customElements.define("session-list", SessionList);
