// Keeps the list of sessions: reads it page by page, and again when another tab has made or deleted one. Event: "change".
import * as api from "./api.js";
import { emptyCatalog, readAnew, told } from "./catalog.js";

export class Listing extends EventTarget {
  #catalog = emptyCatalog();
  #pages = 1; // how much of it is wanted
  #ask; // makes a request, once more after signing in
  #otherTabs = new BroadcastChannel("backchat.sessions"); // one was made or deleted

  constructor(ask) {
    super();
    this.#ask = ask;
    this.#otherTabs.onmessage = () => this.read().catch(() => {});
  }

  get sessions() { return this.#catalog.sessions; }

  get more() { return this.#catalog.next !== null; }

  // Reads it anew. Raises ApiError.
  async read() {
    const pages = [];
    do pages.push(await this.#ask(() => api.listSessions(pages.at(-1)?.next ?? null)));
    while (pages.length < this.#pages && pages.at(-1).next !== null);
    this.#become(readAnew(pages));
  }

  // One page more. Raises ApiError.
  readOn() {
    this.#pages++;
    return this.read();
  }

  // What this tab has done itself.
  made(session) { this.#did({ sessions: [session], deleted: [] }); }

  deleted(id) { this.#did({ sessions: [], deleted: [id] }); }

  changedElsewhere() { this.#otherTabs.postMessage(null); }

  #did(change) {
    this.changedElsewhere();
    this.#become(told(this.#catalog, change));
  }

  #become(catalog) {
    this.#catalog = catalog;
    this.dispatchEvent(new CustomEvent("change"));
  }
}
