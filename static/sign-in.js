// Asks for the access token where the server has one. Resolves once the server took it.
import { login } from "./api.js";
import { h } from "./dom.js";
import { connection as strings } from "./strings.js";

class SignIn extends HTMLElement {
  #asked = null;

  connectedCallback() {
    if (this.dialog) return;
    this.field = h("input", { id: "token", type: "password", autocomplete: "current-password", required: true });
    this.problem = h("p", { role: "alert" });
    this.dialog = h("dialog", { "aria-labelledby": "sign-in-title", oncancel: (event) => event.preventDefault() },
      h("form", { onsubmit: (event) => { event.preventDefault(); this.#try(); } },
        h("h2", { id: "sign-in-title" }, strings.signIn),
        h("p", { class: "aside" }, strings.signInWhy),
        h("label", { for: "token" }, strings.token), this.field, this.problem,
        h("div", { class: "actions" }, h("button", { type: "submit", class: "primary" }, strings.signIn))));
    this.append(this.dialog);
  }

  // Several requests may be refused at once; they all wait for the same answer.
  ask() {
    this.#asked ??= new Promise((resolve) => { this.done = resolve; });
    if (!this.dialog.open) this.dialog.showModal();
    return this.#asked;
  }

  // Makes a request; one that is refused waits for the token and is made again.
  async signedIn(request) {
    for (;;) {
      try {
        return await request();
      } catch (error) {
        if (error.status !== 401) throw error;
        await this.ask();
      }
    }
  }

  async #try() {
    try {
      await login(this.field.value);
    } catch (error) {
      this.problem.textContent = error.status === 401 ? strings.notTheToken : error.message;
      return this.field.select();
    }
    this.field.value = this.problem.textContent = "";
    this.dialog.close();
    this.#asked = null;
    this.done();
  }
}

customElements.define("sign-in", SignIn);
