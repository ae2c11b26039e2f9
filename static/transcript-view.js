// The transcript: articles kept by message id, so that only what changed is touched, and a scroll position that follows the
// end only while the reader is there. Tells "earlier" when an older page is wanted, "redo", and what a switch of variants tells.
import { h, sessionLink, tell } from "./dom.js";
import { messageArticle, runArticle, takeOver } from "./message.js";
import { liveRun } from "./transcript.js";

class TranscriptView extends HTMLElement {
  #articles = new Map();
  #messages = null; // what is drawn; null: nothing yet
  #start = 0; // the index of the first of them
  #run = null;
  #following = true;
  #top = 0; // where the last scrolling led
  #height = 0; // of the window on the transcript, when that was
  #more = false;

  connectedCallback() {
    if (this.log) return;
    this.earlier = h("button", { type: "button", class: "quiet earlier", hidden: true, onclick: () => tell(this, "earlier") }, "Show earlier messages");
    this.empty = h("div", { class: "empty", hidden: true });
    this.origin = h("p", { class: "origin aside", hidden: true });
    this.list = h("div", { class: "messages" });
    this.waiting = h("ul", { class: "pending", "aria-label": "Not sent yet" });
    this.redo = h("button", { type: "button", class: "quiet redo", hidden: true, onclick: () => tell(this, "redo") }, "Redo");
    this.column = h("div", { class: "column" }, this.origin, this.earlier, this.empty, this.list, this.waiting, this.redo);
    this.log = h("div", { role: "log", "aria-label": "Transcript", tabindex: "0", onscroll: () => this.#scrolled() }, this.column);
    this.latest = h("button", { type: "button", class: "latest", hidden: true, onclick: () => this.toEnd() }, "Jump to latest");
    this.append(this.log, this.latest);
    // Opening a fold is reading, not asking for the end.
    this.log.addEventListener("click", ({ target }) => { if (target.closest("summary")) this.#following = false; });
    const observer = new ResizeObserver(() => this.#settle());
    observer.observe(this.log);
    observer.observe(this.column);
  }

  reset() {
    this.#articles.clear();
    this.#messages = this.#run = null;
    this.#more = false;
    this.list.replaceChildren();
    this.waiting.replaceChildren();
    this.origin.hidden = this.earlier.hidden = this.empty.hidden = this.redo.hidden = true;
    this.#following = true;
    this.#top = 0;
  }

  toEnd() {
    this.#following = true;
    this.#settle();
  }

  draw(view) {
    if (view.messages !== this.#messages) {
      // What was there before one arrived is not news: read nothing aloud for it.
      const quiet = this.#messages === null || view.start !== this.#start;
      this.log.setAttribute("aria-live", quiet ? "off" : "polite");
      this.#drawMessages(view);
    }
    this.#drawRun(view);
    this.#drawRedo(view.session.redo_steps ?? 0, view.run !== null);
    this.say(view.messages.length || view.run ? null : "Nothing here yet", "Write a message, or type / for commands. Whatever you say here can be taken back.");
  }

  // A few words in place of messages.
  say(title, text) {
    this.empty.hidden = title === null;
    if (title !== null) this.empty.replaceChildren(h("p", { class: "big" }, title), h("p", {}, text));
  }

  drawPending(pending, connected) {
    this.waiting.hidden = pending.length === 0;
    this.waiting.classList.toggle("connected", connected);
    this.waiting.replaceChildren(...pending.map(({ text }) => h("li", {},
      h("div", { class: "text", dir: "auto" }, text), h("p", { class: "mark" }, connected ? "Sending…" : "Not sent yet"))));
  }

  // Which session this one was branched from, if it was.
  drawOrigin(branchedFrom, title) {
    this.origin.hidden = !branchedFrom;
    if (!branchedFrom) return;
    const { session_id: id, message_id: message } = branchedFrom;
    const link = sessionLink(id, {}, h("bdi", { dir: "auto" }, title));
    if (this.origin.lastElementChild?.outerHTML !== link.outerHTML) this.origin.replaceChildren("Branched from ", link, ` at #${message}`);
  }

  #drawRedo(steps, running) {
    if (steps === 0 && document.activeElement === this.redo) this.log.focus();
    this.redo.hidden = steps === 0;
    this.redo.title = `Bring back what was last taken off${steps > 1 ? ` (the last of ${steps.toLocaleString()} steps)` : ""}${running ? "; this stops the reply" : ""}`;
  }

  #drawMessages({ messages, start }) {
    const held = this.#heldSwitch();
    const anchor = this.#following ? null : this.list.firstElementChild;
    const before = anchor?.getBoundingClientRect().top;
    this.#more = start > 0;
    if (!this.#more && document.activeElement === this.earlier) this.log.focus();
    this.earlier.hidden = !this.#more;
    const wanted = new Set(messages.map(({ id }) => id));
    for (const [id, article] of this.#articles) {
      if (wanted.has(id)) continue;
      article.remove();
      this.#articles.delete(id);
    }
    let next = this.list.firstElementChild;
    for (const message of messages) {
      let article = this.#articles.get(message.id);
      if (article) article.variants.draw(message.variant);
      else this.#articles.set(message.id, (article = messageArticle(message)));
      if (article === next) next = next.nextElementSibling;
      else this.list.insertBefore(article, next);
    }
    [this.#messages, this.#start] = [messages, start];
    if (held && !held.variants.isConnected) this.#passOn(held);
    else if (anchor?.isConnected) this.log.scrollTop += anchor.getBoundingClientRect().top - before;
  }

  // The switch of variants that has the focus.
  #heldSwitch() {
    const variants = document.activeElement?.closest("article .variants");
    if (!variants) return null;
    const id = Number(variants.closest("article").dataset.id);
    return {
      variants, forward: document.activeElement === variants.lastElementChild,
      at: this.#start + this.#messages.findIndex((message) => message.id === id), top: variants.getBoundingClientRect().top,
    };
  }

  // A variant stands where its sibling stood, in the transcript and on the screen: so does its switch, and has the focus.
  #passOn({ at, forward, top }) {
    const message = this.#messages[at - this.#start];
    const variants = message?.variant && this.#articles.get(message.id).variants;
    if (!variants) return this.log.focus({ preventScroll: true });
    this.#following = false;
    variants.takeFocus(forward);
    this.log.scrollTop += variants.getBoundingClientRect().top - top;
  }

  #drawRun(view) {
    const run = liveRun(view);
    if (this.#run && this.#run.dataset.run !== String(run?.run_id)) {
      const answer = view.messages.findLast(({ run_id: id }) => String(id) === this.#run.dataset.run);
      if (answer) takeOver(this.#articles.get(answer.id), this.#run);
      this.#run.remove();
      this.#run = null;
    }
    if (!run) return;
    if (!this.#run) this.list.append((this.#run = runArticle(run)));
    else this.#run.grow(run);
  }

  #atEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.log;
    return scrollHeight - scrollTop - clientHeight < 32;
  }

  #scrolled() {
    const { scrollTop, clientHeight } = this.log;
    if (clientHeight !== this.#height) return; // a notice came or went; nobody scrolled
    // Not at the end alone says nothing: the content may have grown since. Going up is what a reader does.
    if (this.#atEnd()) this.#following = true;
    else if (scrollTop < this.#top) this.#following = false;
    this.#top = scrollTop;
    this.latest.hidden = this.#following;
    if (scrollTop < 60 && this.#more) tell(this, "earlier");
  }

  // After every change of size, of the content or of the window.
  #settle() {
    this.#height = this.log.clientHeight;
    if (this.#following) this.log.scrollTop = this.log.scrollHeight;
    else this.#following = this.#atEnd();
    this.#top = this.log.scrollTop; // more room moves what is scrolled too: that is no reader who goes up
    this.latest.hidden = this.#atEnd();
  }
}

customElements.define("transcript-view", TranscriptView);
