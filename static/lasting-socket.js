// A WebSocket that comes back by itself. Events: "state" {state, code, reason}, "frame" (what came, decoded).
// The states: "connecting" (for the first time), "open", "reconnecting" and "closed".

const PATIENCE = 15_000; // A reply takes milliseconds: without one for so long the connection is dead, whatever the browser believes.
const STEADY = 5000; // open for so long, the next loss is a new one

export class LastingSocket extends EventTarget {
  #address; // () → path and query
  #verdict; // (code) → "over", "again" (at once) or "later"
  #socket = null;
  #attempt = 0;
  #opened = 0; // when the server last let us in
  #retry = 0;
  #listening = new AbortController();

  constructor(address, verdict) {
    super();
    this.#address = address;
    this.#verdict = verdict;
    this.state = "connecting";
    this.retryAt = null; // when it tries again; null while it is trying
    const { signal } = this.#listening;
    // After a change of network an open socket is often dead without knowing; resuming costs little.
    for (const change of ["online", "offline"]) addEventListener(change, () => this.state !== "closed" && this.connect(), { signal });
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && this.state === "reconnecting") this.connect();
    }, { signal });
  }

  // Now, whatever was planned.
  connect() {
    this.#forget();
    const socket = new WebSocket(location.origin.replace(/^http/, "ws") + this.#address());
    this.#socket = socket;
    socket.onmessage = ({ data }) => this.#tell("frame", JSON.parse(data));
    socket.onclose = ({ code, reason }) => this.#lost(code, reason);
    this.#retry = setTimeout(() => this.#lost(0), PATIENCE);
    this.#say({ state: this.state === "connecting" ? "connecting" : "reconnecting" });
  }

  // The server has let us in.
  opened() {
    clearTimeout(this.#retry);
    this.#opened = Date.now();
    this.#say({ state: "open" });
  }

  close() {
    this.#listening.abort();
    this.#forget();
    this.state = "closed";
  }

  send(frame) {
    this.#socket.send(JSON.stringify(frame));
  }

  // Unless `answered()` is true by then, nobody is there any more.
  expect(answered) {
    const socket = this.#socket;
    setTimeout(() => this.#socket === socket && !answered() && this.#lost(0), PATIENCE);
  }

  // Another one after every loss: what is asked on one is not answered on the next.
  get socket() { return this.#socket; }

  // Lets go of the socket at once: close() alone may wait a minute for a peer that is not there.
  #forget() {
    clearTimeout(this.#retry);
    this.retryAt = null;
    if (!this.#socket) return;
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #lost(code, reason = "") {
    this.#forget();
    const verdict = this.#verdict(code, reason);
    if (verdict === "over") return this.#say({ state: "closed", code, reason });
    // One that closes as soon as it is open is no better than one that never opens.
    if (this.state === "open" && Date.now() - this.#opened > STEADY) this.#attempt = 0;
    const delay = verdict === "again" ? 0 : Math.min(15_000, 300 * 2 ** this.#attempt++) * (0.5 + Math.random() / 2);
    this.retryAt = Date.now() + delay;
    this.#retry = setTimeout(() => this.connect(), delay);
    this.#say({ state: "reconnecting", code, reason });
  }

  #say(detail) {
    this.state = detail.state;
    this.#tell("state", detail);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
