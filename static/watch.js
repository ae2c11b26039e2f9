// What the server says of all sessions while the page is open. Events: "watching" (from now on nothing is missed), "changed"
// {sessions, deleted}, "state" {state}.
import { LastingSocket } from "./lasting-socket.js";

export class Watch extends EventTarget {
  #line;

  // `signIn` resolves once the server took a token.
  constructor(signIn) {
    super();
    this.#line = new LastingSocket(() => "/watch", (code) => (code === 4401 ? "over" : "later"));
    this.#line.addEventListener("frame", ({ detail }) => this.#heard(detail));
    this.#line.addEventListener("state", ({ detail }) => {
      if (detail.state === "closed") signIn().then(() => this.#line.connect());
      this.#tell("state", detail);
    });
    this.#line.connect();
  }

  get state() { return this.#line.state; }

  get retryAt() { return this.#line.retryAt; }

  connect() { this.#line.connect(); }

  #heard({ method, params }) {
    if (method === "watching") {
      this.#line.opened();
      this.#tell("watching");
    } else if (method === "sessions.changed") this.#tell("changed", params);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
