// What the server has rendered of messages, and what it is asked for. Knows no page: `ask` (params) → the answer to `render`, and
// `drawn` is told of what has come.

const MOST = 50; // messages in a request
const ROOM = 8_000_000; // UTF-16 units of HTML that are kept

// The HTML of finished messages: asked for in batches, one at a time, kept as long as there is room.
export class Renderings {
  #ask;
  #drawn;
  #log = null; // a message id means something within one log
  #kept = new Map(); // `${log} ${id}` → an entry for each of the message's texts: its HTML, or null
  #size = 0;
  #refused = new Set(); // not asked for again
  #wanted = [];
  #under = null; // the request under way: its {ids}

  // `drawn` gets [{id, html}] of the messages that came: none of them where that failed.
  constructor(ask, drawn) {
    this.#ask = ask;
    this.#drawn = drawn;
  }

  // From now on ids are of this log.
  about(log) {
    if (log === this.#log) return;
    this.#log = log;
    this.open();
  }

  // The connection is new: what could not be had before may be had now.
  open() {
    this.#wanted = [];
    this.#refused.clear();
    this.#under = null;
  }

  of(id) {
    return this.#kept.get(`${this.#log} ${id}`);
  }

  // These, the first ones first, instead of whatever else was still wanted.
  want(ids) {
    this.#wanted = ids.filter((id) => !this.of(id) && !this.#refused.has(id) && !this.#under?.ids.includes(id));
    this.#next();
  }

  async #next() {
    if (this.#under || this.#wanted.length === 0) return;
    const ids = this.#wanted.splice(0, MOST);
    const under = (this.#under = { ids });
    // An older server, or no connection: the text is there to be read, and the next attach asks again.
    const came = await this.#ask({ messages: ids }).then(({ messages }) => messages, () => []);
    if (this.#under !== under) return;
    this.#under = null;
    // A server that has no time for all begins with the first; one that gives none never will.
    if (came.length === 0) ids.forEach((id) => this.#refused.add(id));
    else this.#wanted.unshift(...ids.filter((id) => !came.some((one) => one.id === id)));
    came.forEach((one) => this.#keep(one));
    this.#drawn(came);
    this.#next();
  }

  #keep({ id, html }) {
    this.#kept.set(`${this.#log} ${id}`, html);
    this.#size += length(html);
    for (const [key, old] of this.#kept) {
      if (this.#size <= ROOM || old === html) break;
      this.#kept.delete(key);
      this.#size -= length(old);
    }
  }
}

const length = (html) => html.reduce((sum, one) => sum + (one?.length ?? 0), 0);

// The HTML of the reply that is being written: asked for again whenever there is more of it, as often as the server keeps up.
export class LiveRendering {
  #ask;
  #drawn;
  #run = null; // its id
  #length = 0; // of its text, as far as it has come, in UTF-16 units
  #asked = 0; // what it was at the last request
  #until = 0; // where what cannot change any more ends, in code points
  #since = 0; // when the first piece came that was not asked for
  #under = null; // a token of the request under way and of the rest after it
  #refused = false;

  // `drawn` gets {html, tail, since}: more that stays as it is, and what comes after it for now; or null where the text is not
  // rendered, or no longer: all of it is plain then.
  constructor(ask, drawn) {
    this.#ask = ask;
    this.#drawn = drawn;
  }

  // The connection is new: what could not be had before may be had now.
  open() {
    this.#under = null;
    this.#asked = 0;
    this.#refused = false;
  }

  // The connection is lost: what it owed is no refusal.
  close() {
    this.#under = null;
  }

  // The run as it is now, or null.
  follow(run) {
    if (run?.run_id !== this.#run) {
      this.open();
      this.#run = run?.run_id ?? null;
      this.#length = this.#until = 0;
    }
    if (!run || run.text.length === this.#asked) return;
    if (this.#asked === this.#length) this.#since = performance.now();
    this.#length = run.text.length;
    if (!this.#under && !this.#refused) this.#next();
  }

  async #next() {
    const under = (this.#under = {});
    while (this.#asked < this.#length) {
      const [began, since] = [performance.now(), this.#since];
      this.#asked = this.#length;
      const answer = await this.#ask({ run_id: this.#run, after: this.#until }).then(({ run }) => run, () => null);
      if (this.#under !== under) return;
      if (!answer || answer.tail === null) {
        this.#refused = true;
        this.#until = 0;
        this.#drawn(null);
        break;
      }
      this.#until = answer.until;
      this.#drawn({ ...answer, since });
      await new Promise((go) => setTimeout(go, performance.now() - began));
      if (this.#under !== under) return;
    }
    this.#under = null;
  }
}
