// Whether the page is connected, when it tries again, and how much waits for that. Tells "try-now", and
// "leave" when what had the focus is no longer there.
//
// What is seen counts the seconds; what is heard is only what has changed, and only once it lasts.
import { h, hide, say, tell } from "./dom.js";
import { connection as strings } from "./strings.js";

const LASTS = 1000; // milliseconds

class ConnectionState extends HTMLElement {
  #now = { state: "connecting", retryAt: null, unsent: 0 };
  #news = ""; // what is worth saying, once it lasts
  #ticking = 0;
  #lasting = 0;

  connectedCallback() {
    if (this.shown) return;
    this.shown = h("p", { "data-connection": "connecting" });
    this.waiting = h("span", { class: "unsent", hidden: true });
    this.button = h("button", { type: "button", class: "link", hidden: true, onclick: () => tell(this, "try-now") }, strings.tryNow);
    this.live = h("span", { class: "unseen", role: "status" });
    this.append(this.shown, this.waiting, this.button, this.live);
    for (const change of ["online", "offline"]) addEventListener(change, () => this.#draw());
  }

  // `state` and `retryAt` as a LastingSocket has them; `unsent` lines wait to be sent.
  draw(now) {
    this.#now = now;
    this.#draw();
  }

  #draw() {
    const { state, retryAt, unsent } = this.#now;
    const lost = state === "reconnecting";
    // The server may be on this very machine: being offline only counts where it cannot be reached.
    const kind = lost && !navigator.onLine ? "offline" : state;
    this.shown.dataset.connection = this.hidden ? "none" : state;
    this.classList.toggle("trouble", lost);
    const seconds = retryAt === null ? 0 : Math.ceil((retryAt - Date.now()) / 1000);
    say(this.shown, kind === "reconnecting" && seconds > 0 ? strings.retryIn(seconds) : strings.states[kind]);
    const waits = unsent > 0 && state !== "open";
    say(this.waiting, waits ? strings.unsent(unsent) : "");
    this.waiting.hidden = !waits;
    hide(this.button, !lost, () => tell(this, "leave"));
    clearTimeout(this.#ticking);
    if (lost && seconds > 0) this.#ticking = setTimeout(() => this.#draw(), (retryAt - Date.now()) % 1000 + 20);
    this.#announce([strings.heard[kind], waits && strings.unsent(unsent)].filter(Boolean).join(" "));
  }

  #announce(news) {
    if (news === this.#news) return;
    this.#news = news;
    clearTimeout(this.#lasting);
    // Only what was said to be lost is said to be back.
    if (this.#now.state !== "open" || this.live.textContent) this.#lasting = setTimeout(() => say(this.live, news), LASTS);
  }
}

customElements.define("connection-state", ConnectionState);
