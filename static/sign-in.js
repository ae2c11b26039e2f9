// Asks for the access token where the server wants one. Resolves once the server took it, or the code of an invitation that
// stands in the address.
import { login } from "./api.js";
import { h } from "./dom.js";
import { connection as strings } from "./strings.js";

class SignIn extends HTMLElement {
  #asked = null;
  #invited = null; // whether the server took an invitation: a promise, until somebody has to sign in

  connectedCallback() {
    if (this.dialog) return;
    this.#invited = invitation();
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
    this.#asked ??= this.#ask().finally(() => { this.#asked = null; });
    return this.#asked;
  }

  async #ask() {
    const invited = this.#invited;
    this.#invited = null;
    if (invited) {
      if (await invited) return;
      this.problem.textContent = strings.usedInvitation;
    }
    await new Promise((resolve) => {
      this.done = resolve;
      this.dialog.showModal();
    });
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
    this.done();
  }
}

// Takes the code out of the address, so that no history has it.
function invitation() {
  const code = location.hash.match(/^#sign-in=(.+)$/)?.[1];
  if (!code) return null;
  history.replaceState(history.state, "", location.pathname + location.search);
  return login(code).then(() => true, () => false);
}

customElements.define("sign-in", SignIn);
