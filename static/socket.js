// One session's socket. It reconnects by itself and resumes from where the view stands; a submitted line is kept, also over a
// reload, until the server has acknowledged it, and is sent again under the same op_id, which the server applies only once.
//
// Events: "state" {state, code}, "notification" {method, params}, "pending", "settled" {submit, result | error}.
import { recall, remember } from "./storage.js";

const PATIENCE = 15_000; // A reply takes milliseconds: without one for so long the connection is dead, whatever the browser believes.
const STEADY = 5000; // open for so long, the next loss is a new one
const FINAL = new Set([4401, 4404, 4410]);

export class SessionSocket extends EventTarget {
  #id;
  #position; // () → the view's {revision, log}
  #socket = null;
  #fresh = false; // the next attach must not resume
  #attempt = 0;
  #opened = 0; // when the server last attached us
  #retry = 0;
  #requests = new Map();
  #lastRequest = 0;
  #listening = new AbortController();

  constructor(id, position) {
    super();
    this.#id = id;
    this.#position = position;
    this.state = "connecting";
    this.pending = recall(`pending.${id}`) ?? [];
    const { signal } = this.#listening;
    // After a change of network an open socket is often dead without knowing; resuming costs little.
    for (const change of ["online", "offline"]) addEventListener(change, () => this.state !== "closed" && this.#connect(), { signal });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.state === "reconnecting") this.#connect();
    }, { signal });
    this.#connect();
  }

  close() {
    this.#listening.abort();
    this.#forget();
    this.state = "closed";
  }

  // The view can no longer be trusted: attach anew and take a snapshot.
  restart() {
    this.#fresh = true;
    this.#connect();
  }

  submit(text, { ifRevision, typed = true } = {}) {
    const submit = { op_id: crypto.getRandomValues(new Uint32Array(4)).join("-"), text, typed };
    if (ifRevision !== undefined) submit.if_revision = ifRevision;
    this.#keep([...this.pending, submit]);
    if (this.state === "open") this.#sendSubmit(submit);
  }

  // Where the session is gone nothing can be sent: hands back what was not.
  abandon() {
    const left = this.pending;
    this.#keep([]);
    return left;
  }

  request(method, params) {
    if (this.state !== "open") return Promise.reject(new Error("Not connected."));
    const id = ++this.#lastRequest;
    return new Promise((resolve, reject) => {
      this.#requests.set(id, { resolve, reject });
      this.#send({ jsonrpc: "2.0", id, method, params });
    });
  }

  #keep(pending) {
    this.pending = pending;
    remember(`pending.${this.#id}`, pending);
    this.#tell("pending");
  }

  #sendSubmit({ op_id, text, if_revision }) {
    // The op_id doubles as the request's id, so that a reply finds its line on whichever connection it comes.
    this.#send({ jsonrpc: "2.0", id: op_id, method: "submit", params: { op_id, text, if_revision } });
    const socket = this.#socket;
    setTimeout(() => {
      if (this.#socket === socket && this.pending.some((submit) => submit.op_id === op_id)) this.#lost(0);
    }, PATIENCE);
  }

  #send(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  #connect() {
    this.#forget();
    const { revision, log } = this.#position();
    const resume = log !== null && !this.#fresh;
    const name = recall("name", "localStorage");
    const query = String(new URLSearchParams({ ...(resume && { after: revision, log }), ...(name && { name }) }));
    const socket = new WebSocket(`${location.origin.replace(/^http/, "ws")}/ws/${this.#id}${query && `?${query}`}`);
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    socket.onclose = ({ code }) => this.#lost(code, query);
    this.#retry = setTimeout(() => this.#lost(0), PATIENCE);
    this.#say(this.state === "connecting" ? "connecting" : "reconnecting");
  }

  // Lets go of the socket at once: close() alone may wait a minute for a peer that is not there.
  #forget() {
    clearTimeout(this.#retry);
    for (const { reject } of this.#requests.values()) reject(new Error("The connection was lost."));
    this.#requests.clear();
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #lost(code, query = "") {
    this.#forget();
    if (FINAL.has(code) || (code === 4400 && !query)) return this.#say("closed", code);
    if (code === 4400) this.#startOver(); // the server knows no such position, or takes no such name
    if (code === 1009) this.#refuseLargest(); // resending it would close every connection
    // One that closes as soon as it is open is no better than one that never opens.
    if (this.state === "open" && Date.now() - this.#opened > STEADY) this.#attempt = 0;
    const atOnce = code === 4400 || (code === 4008 && this.state === "open");
    this.#say("reconnecting", code);
    const delay = atOnce ? 0 : Math.min(15_000, 300 * 2 ** this.#attempt++) * (0.5 + Math.random() / 2);
    this.#retry = setTimeout(() => this.#connect(), delay);
  }

  #startOver() {
    this.#fresh = true;
    remember("name", null, "localStorage");
  }

  #refuseLargest() {
    const [largest] = this.pending.toSorted((a, b) => b.text.length - a.text.length);
    if (largest) this.#settle(largest.op_id, { error: { message: "This is too long to send.", data: { code: "too_large" } } });
  }

  #receive(frame) {
    if (frame.method) {
      const socket = this.#socket;
      this.#tell("notification", frame);
      if (frame.method !== "attached" || this.#socket !== socket) return; // whoever heard it may have asked for a restart
      clearTimeout(this.#retry);
      this.#opened = Date.now();
      this.#fresh = false;
      // One name for a browser: what the server called the first of its tabs.
      if (frame.params.name && !recall("name", "localStorage")) remember("name", frame.params.name, "localStorage");
      this.#say("open");
      this.pending.forEach((submit) => this.#sendSubmit(submit));
      return;
    }
    const request = this.#requests.get(frame.id);
    if (!request) return this.#settle(frame.id, { result: frame.result, error: frame.error });
    this.#requests.delete(frame.id);
    if (frame.error) request.reject(new Error(frame.error.message));
    else request.resolve(frame.result);
  }

  #settle(opId, outcome) {
    const submit = this.pending.find((one) => one.op_id === opId);
    if (!submit) return;
    this.#keep(this.pending.filter((one) => one !== submit));
    this.#tell("settled", { submit, ...outcome });
  }

  #say(state, code) {
    this.state = state;
    this.#tell("state", { state, code });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
