// Whether the page is connected.
import { say } from "./dom.js";
import { connection as strings } from "./strings.js";

class ConnectionState extends HTMLElement {
  // `state` as a SessionSocket has it.
  draw(state) {
    this.dataset.connection = state;
    say(this, strings.states[state]);
  }
}

customElements.define("connection-state", ConnectionState);
