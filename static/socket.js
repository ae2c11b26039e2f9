// One session's socket. It resumes from where the view stands; a submitted line is kept, also over a reload, until the server has
// acknowledged it, and is sent again under the same op_id, which the server applies only once.
//
// Events: "state" {state, code, reason}, "notification" {method, params}, "pending", "settled" {submit, result | error},
// "name-refused" {message}.
import { LastingSocket } from "./lasting-socket.js";
import { recall, recallAll, remember } from "./storage.js";
import { connection as strings } from "./strings.js";
import { connected, released } from "./unsent.js";

const KEPT = "pending."; // before a session's id: what of it is not acknowledged

// The sessions that this tab has unacknowledged lines for.
export const unsentIn = () => recallAll(KEPT);

const FINAL = new Set([4401, 4404, 4410]);

export class SessionSocket extends EventTarget {
  #id;
  #position; // () → the view's {revision, log}
  #line;
  #asked = ""; // the query that it was last opened with
  #fresh = false; // the next attach must not resume
  #trying = null; // the name to go by, unless the server refuses it
  #requests = new Map();
  #lastRequest = 0;
  #later = 0; // the timer of the lines that the server did not take yet

  constructor(id, position) {
    super();
    this.#id = id;
    this.#position = position;
    this.pending = recall(KEPT + id) ?? [];
    this.#line = new LastingSocket(() => this.#address(), (code, reason) => this.#lost(code, reason));
    this.#line.addEventListener("frame", ({ detail }) => this.#receive(detail));
    this.#line.addEventListener("state", ({ detail }) => {
      this.#rejectAll();
      if (detail.state !== "open") this.#forgetLater();
      this.#tell("state", detail);
    });
    this.#line.connect();
  }

  get state() { return this.#line.state; }

  get retryAt() { return this.#line.retryAt; }

  connect() { this.#line.connect(); }

  close() {
    this.#line.close();
    this.#rejectAll();
    this.#forgetLater();
  }

  // The view can no longer be trusted: attach anew and take a snapshot.
  restart() {
    this.#fresh = true;
    this.connect();
  }

  // Goes by this name from now on, unless the server refuses it.
  callMyself(name) {
    this.#trying = name;
    this.connect();
  }

  submit(text, { ifRevision, typed = true } = {}) {
    const opId = crypto.getRandomValues(new Uint32Array(4)).join("-");
    const submit = { op_id: opId, text, typed, at: Date.now(), sent: this.#sends };
    if (ifRevision !== undefined) submit.if_revision = ifRevision;
    this.#keep([...this.pending, submit]);
    if (submit.sent) this.#sendSubmit(submit);
  }

  // A line that was held back is sent after all.
  release(opId) {
    this.#keep(released(this.pending, opId, Date.now(), this.#sends));
    if (this.#sends) this.#sendSubmit(this.pending.find((submit) => submit.op_id === opId));
  }

  // It is not to be sent any more.
  withdraw(opId) {
    this.#keep(this.pending.filter((submit) => submit.op_id !== opId));
  }

  // Where the session is gone nothing can be sent: hands back what was not.
  abandon() {
    const left = this.pending;
    this.#keep([]);
    return left;
  }

  request(method, params) {
    if (this.state !== "open") return Promise.reject(new Error(strings.notConnectedNow));
    const id = ++this.#lastRequest;
    return new Promise((resolve, reject) => {
      this.#requests.set(id, { resolve, reject });
      this.#line.send({ jsonrpc: "2.0", id, method, params });
    });
  }

  #keep(pending) {
    this.pending = pending;
    remember(KEPT + this.#id, pending);
    this.#tell("pending");
  }

  // Whether what is submitted is sent at once: never past a line that has to wait.
  get #sends() { return this.state === "open" && !this.#later; }

  #sendAll() {
    this.#forgetLater();
    const { pending, send } = connected(this.pending.map(({ waits, ...line }) => line), Date.now());
    this.#keep(pending);
    if (this.state !== "open") return; // whoever heard it may have closed it
    send.forEach((submit) => this.#sendSubmit(submit));
  }

  #sendSubmit({ op_id, text, if_revision }) {
    // The op_id doubles as the request's id, so that a reply finds its line on whichever connection it comes.
    this.#line.send({ jsonrpc: "2.0", id: op_id, method: "submit", params: { op_id, text, if_revision } });
    this.#line.expect(() => this.#later || !this.pending.some((submit) => submit.op_id === op_id));
  }

  // Too much at once: nothing of it was done. All that is pending goes out again, in its order, when the server said.
  #sendLater(opId, seconds) {
    this.#keep(this.pending.map((line) => (line.op_id === opId ? { ...line, waits: true } : line)));
    this.#later ||= setTimeout(() => this.#sendAll(), seconds * 1000);
  }

  #forgetLater() {
    clearTimeout(this.#later);
    this.#later = 0;
  }

  #address() {
    const { revision, log } = this.#position();
    const resume = log !== null && !this.#fresh;
    const name = this.#trying ?? recall("name", "localStorage");
    this.#asked = String(new URLSearchParams({ ...(resume && { after: revision, log }), ...(name && { name }) }));
    return `/ws/${this.#id}${this.#asked && `?${this.#asked}`}`;
  }

  #lost(code, reason) {
    if (FINAL.has(code) || (code === 4400 && !this.#asked)) return "over";
    if (code === 4400) this.#startOver(reason);
    if (code === 1009) this.#refuseLargest(); // resending it would close every connection
    return code === 4400 || (code === 4008 && this.state === "open") ? "again" : "later";
  }

  // The server knows no such position, or takes no such name.
  #startOver(reason) {
    if (this.#trying !== null) {
      this.#trying = null;
      return this.#tell("name-refused", { message: reason });
    }
    this.#fresh = true;
    remember("name", null, "localStorage");
  }

  #rejectAll() {
    for (const { reject } of this.#requests.values()) reject(new Error(strings.connectionLost));
    this.#requests.clear();
  }

  #refuseLargest() {
    const [largest] = this.pending.toSorted((a, b) => b.text.length - a.text.length);
    if (largest) this.#settle(largest.op_id, { error: { message: strings.tooLong, data: { code: "too_large" } } });
  }

  #receive(frame) {
    if (frame.method) {
      const { socket } = this.#line;
      this.#tell("notification", frame);
      // Whoever heard it may have asked for a restart.
      if (frame.method === "attached" && this.#line.socket === socket) this.#attached(frame.params);
      return;
    }
    const request = this.#requests.get(frame.id);
    if (!request) return this.#settle(frame.id, { result: frame.result, error: frame.error });
    this.#requests.delete(frame.id);
    if (frame.error) request.reject(new Error(frame.error.message));
    else request.resolve(frame.result);
  }

  #attached({ name }) {
    this.#fresh = false;
    // One name for a browser: what the server called the first of its tabs, or what the person chose since.
    if (name && (this.#trying !== null || !recall("name", "localStorage"))) remember("name", name, "localStorage");
    this.#trying = null;
    this.#line.opened();
    this.#sendAll();
  }

  #settle(opId, outcome) {
    const submit = this.pending.find((one) => one.op_id === opId);
    if (!submit) return;
    if (outcome.error?.data?.code === "rate_limited") return this.#sendLater(opId, outcome.error.data.retry_after);
    this.#keep(this.pending.filter((one) => one !== submit));
    this.#tell("settled", { submit, ...outcome });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
