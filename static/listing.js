// Keeps the list of sessions: reads it page by page, hears what changes, searches. Event: "change" {seen}: the ids of the sessions
// that the server has just said there are.
import * as api from "./api.js";
import { emptyCatalog, readAnew, readOn, searched, told } from "./catalog.js";

const MOST = 200; // sessions in a page, when many are read anew

export class Listing extends EventTarget {
  #catalog = emptyCatalog();
  #ask; // makes a request, once more after signing in
  #reading = null; // {changes, done}: what was told since a read began, and its end
  #appending = false;

  constructor(ask, watch) {
    super();
    this.#ask = ask;
    watch.addEventListener("changed", ({ detail }) => this.told(detail));
  }

  get catalog() { return this.#catalog; }

  get sessions() { return this.#catalog.sessions; }

  // Reads as much anew as was read before. Raises ApiError.
  read() {
    const reading = { changes: [] };
    this.#reading = reading;
    reading.done = this.#readAnew(reading).finally(() => { if (this.#reading === reading) this.#reading = null; });
    return reading.done;
  }

  async #readAnew(reading) {
    const wanted = this.#catalog.sessions.length;
    const pages = [];
    let size = 0;
    do {
      const page = await this.#ask(() => api.listSessions({ after: pages.at(-1)?.next, limit: wanted > 50 ? MOST : 50 }));
      pages.push(page);
      size += page.sessions.length;
    } while (size < wanted && pages.at(-1).next !== null);
    // It may have been begun again meanwhile.
    if (this.#reading === reading) this.#become(readAnew(this.#catalog, pages, reading.changes), pages.flatMap(({ sessions }) => sessions));
    else await this.#reading?.done;
  }

  // One page more. Raises ApiError.
  async readOn() {
    const { next } = this.#catalog;
    if (next === null || this.#appending || this.#reading) return;
    this.#appending = true;
    try {
      const page = await this.#ask(() => api.listSessions({ after: next }));
      // Read anew meanwhile, it may begin elsewhere.
      if (next === this.#catalog.next && !this.#reading) this.#become(readOn(this.#catalog, page), page.sessions);
    } finally {
      this.#appending = false;
    }
  }

  // Only the newest answer counts. Raises ApiError.
  async search(query) {
    this.#become(searched(this.#catalog, query));
    if (!query) return;
    const { sessions } = await this.#ask(() => api.searchSessions(query));
    if (this.#catalog.found?.query === query) this.#become(searched(this.#catalog, query, sessions));
  }

  // Something has changed: {sessions, deleted}; also what this tab has just done itself, and will hear of.
  told(change) {
    this.#reading?.changes.push(change);
    this.#become(told(this.#catalog, change), change.sessions);
  }

  #become(catalog, seen = []) {
    this.#catalog = catalog;
    this.dispatchEvent(new CustomEvent("change", { detail: { seen: seen.map(({ session_id: id }) => id) } }));
  }
}
