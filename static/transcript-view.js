// The transcript: articles kept by message id, so that only what changed is touched. Tells "redo", what a switch of variants tells,
// "edit" {id}, "retry", "branch" {id}, and "trouble" {text}. Whoever wires it sets `render`: the params of that request → its
// answer, and `older`: (message) → once an older page has been drawn, or all up to a message;
// rejected where they cannot be had.
import { OneStop, showDone } from "./actions.js";
import { copied } from "./clipboard.js";
import { codeOf } from "./code.js";
import { h, hide, say, sessionLink, tell } from "./dom.js";
import { isLeaving, leave } from "./leaving.js";
import { untilShown } from "./marks.js";
import { messageArticle, runArticle, takeOver } from "./message.js";
import { ReadingPlace } from "./place.js";
import { LiveRendering, Renderings } from "./rendered.js";
import { after, before, firstIn, lastIn, put, tidy } from "./stretches.js";
import { transcript as words } from "./strings.js";
import { liveRun } from "./transcript.js";
import "./unsent-lines.js";

const AHEAD = 1.5; // how many windows above and below what can be seen are rendered too
const EARLY = 3; // so many windows from the top an older page is asked for
const ATTEMPTS = 3; // to load what is before a message: the first may find an older page on its way

class TranscriptView extends HTMLElement {
  render = null;
  older = null;
  #articles = new Map();
  #messages = null; // what is drawn; null: nothing yet
  #start = 0; // the index of the first of them
  #run = null;
  #more = false;
  #arrived = null; // when the server said what is to be drawn first, until it is
  #looking = false;
  #open = false; // whether the server can be asked
  #renderings = new Renderings((params) => this.render(params), (came) => this.#rendered(came));
  #live = new LiveRendering((params) => this.render(params), (answer) => this.#renderedLive(answer));

  connectedCallback() {
    if (this.log) return;
    this.earlier = h("button", { type: "button", class: "quiet earlier", hidden: true, onclick: () => this.#ask() }, words.earlier);
    this.empty = h("div", { class: "empty", hidden: true });
    this.origin = h("p", { class: "origin aside", hidden: true });
    this.list = h("div", { class: "messages" });
    this.waiting = h("unsent-lines");
    this.took = h("span");
    this.redo = h("button", { type: "button", class: "quiet redo", onclick: () => tell(this, "redo") }, words.redo);
    this.back = h("p", { class: "back", hidden: true }, this.took, this.redo);
    this.column = h("div", { class: "column" }, this.origin, this.earlier, this.empty, this.list, this.waiting, this.back);
    this.log = h("div", { role: "log", "aria-label": words.name, tabindex: "0" }, this.column);
    this.latest = h("button", { type: "button", class: "latest", hidden: true, onclick: () => this.toEnd() }, words.latest);
    this.told = h("p", { class: "unseen", "aria-live": "polite" });
    this.append(this.log, this.latest, this.told);
    this.place = new ReadingPlace(this, () => this.#moved());
    this.stops = new OneStop(this.list);
    this.list.addEventListener("copy-text", ({ detail, target }) => this.#copy(detail.text, target));
    this.list.addEventListener("click", ({ target }) => {
      const button = target.closest(".copy-code");
      if (button) this.#copy(codeOf(button), button);
    });
  }

  reset() {
    this.waiting.draw({ lines: [], connected: true, running: false });
    this.#articles.clear();
    this.#messages = this.#run = null;
    this.#more = this.#open = false;
    this.#renderings.about(null);
    this.#live.follow(null);
    this.list.replaceChildren();
    this.origin.hidden = this.earlier.hidden = this.empty.hidden = this.back.hidden = true;
    this.place.toEnd();
  }

  // The server says where the session is, which is drawn next.
  arrives() {
    this.#arrived = performance.now();
  }

  // From now on it can be asked.
  connected(view) {
    this.#open = true;
    this.#renderings.open();
    this.#live.open();
    this.#live.follow(liveRun(view));
    this.#look();
    this.#reach();
  }

  disconnected() {
    this.#open = false;
    this.#live.close();
  }

  toEnd() {
    this.place.toEnd();
  }

  // `taken` is what came off, see taken.js.
  draw(view, taken) {
    this.#renderings.about(view.log);
    const changed = view.messages !== this.#messages;
    if (changed) {
      const last = this.#messages?.at(-1)?.id;
      if (last !== view.messages.at(-1)?.id) this.#articles.get(last)?.actions.draw(false);
      // What was there before one arrived is not news: read nothing aloud for it.
      const quiet = this.#messages === null || view.start !== this.#start;
      this.log.setAttribute("aria-live", quiet ? "off" : "polite");
      this.place.keep(() => this.#drawMessages(view, Boolean(taken?.now)));
    }
    this.#drawRun(view);
    this.#articles.get(view.messages.at(-1)?.id)?.actions.draw(view.run === null);
    this.#drawBack(view.session.redo_steps ?? 0, taken?.line.at(-1), view.run !== null);
    this.say(view.messages.length || view.run ? null : words.nothingYet, words.invitation);
    if (changed) this.#look();
  }

  // A few words in place of messages.
  say(title, text) {
    this.empty.hidden = title === null;
    if (title !== null) this.empty.replaceChildren(h("p", { class: "big" }, title), h("p", {}, text));
  }

  // What was not sent yet; and whether anything is heard of the server, or of the reply that it is `running`.
  drawPending(pending) {
    this.toggleAttribute("disconnected", !pending.connected);
    this.waiting.draw(pending);
  }

  // Which session this one was branched from, if it was.
  drawOrigin(branchedFrom, title) {
    this.origin.hidden = !branchedFrom;
    if (!branchedFrom) return;
    const { session_id: id, message_id: message } = branchedFrom;
    const link = sessionLink(id, {}, h("bdi", { dir: "auto" }, title));
    if (this.origin.lastElementChild?.outerHTML !== link.outerHTML) this.origin.replaceChildren(words.branchedFrom, link, words.branchedAt(message));
  }

  #drawBack(steps, last, running) {
    if (steps === 0 && document.activeElement === this.redo) this.log.focus();
    this.back.hidden = steps === 0;
    say(this.took, last ? words.tookOff(last.command, last.count) : "");
    this.redo.title = words.redoes(steps, running);
  }

  #drawMessages({ messages, start }, fading) {
    const [held, inside] = [this.#heldSwitch(), this.list.contains(document.activeElement)];
    this.#more = start > 0;
    if (!this.#more && document.activeElement === this.earlier) this.log.focus();
    this.earlier.hidden = !this.#more;
    const old = this.#messages ?? [];
    const [first, last] = differing(old, messages);
    const fresh = messages.slice(first, messages.length - last);
    const copied = this.#takeOff(old.slice(first, old.length - last), fresh, fading);
    let behind = first > 0 ? this.#articles.get(messages[first - 1].id) : null;
    for (const message of fresh) {
      const article = this.#articles.get(message.id) ?? this.#add(message, copied);
      article.variants.draw(message.variant);
      if (this.#next(behind) !== article) put(this.list, article, behind);
      behind = article;
    }
    [this.#messages, this.#start] = [messages, start];
    tidy(this.list);
    this.stops.settle();
    if (held && this.#articles.get(held.id)?.variants !== held.variants) this.#passOn(held);
    if (inside && !this.list.contains(document.activeElement)) this.log.focus({ preventScroll: true });
  }

  // The article behind another one, or the first one; what leaves still stands where it stood.
  #next(article) {
    let next = article ? after(article) : firstIn(this.list);
    while (isLeaving(next)) next = after(next);
    return next;
  }

  // Lets go of messages that are not on the transcript any more. Returns the articles of those that are only replaced by copies,
  // by the id of their original: that is what follows a dropped turn.
  #takeOff(messages, fresh, fading) {
    const kept = new Set(fresh.map(({ id }) => id));
    const copies = new Set(fresh.map(originalOf));
    const [gone, copied] = [[], new Map()];
    for (const message of messages) {
      if (kept.has(message.id)) continue;
      const article = this.#articles.get(message.id);
      if (copies.has(originalOf(message))) copied.set(originalOf(message), article);
      else gone.push(article);
      this.#articles.delete(message.id);
    }
    leave(gone, fading);
    return copied;
  }

  #add(message, copied) {
    const article = messageArticle(message);
    this.#articles.set(message.id, article);
    const original = copied.get(originalOf(message));
    if (original) {
      original.after(article);
      takeOver(article, original);
      original.remove();
    }
    const html = article.rendered ? null : this.#renderings.of(message.id);
    if (html) article.render(html);
    return article;
  }

  // The switch of variants that has the focus.
  #heldSwitch() {
    const variants = document.activeElement?.closest("article .variants");
    if (!variants) return null;
    const id = Number(variants.closest("article").dataset.id);
    return {
      id, variants, forward: document.activeElement === variants.lastElementChild,
      at: this.#start + this.#messages.findIndex((message) => message.id === id), top: variants.getBoundingClientRect().top,
    };
  }

  // A variant stands where its sibling stood, in the transcript and on the screen: so does its switch, and has the focus.
  #passOn({ at, forward, top }) {
    const message = this.#messages[at - this.#start];
    const variants = message?.variant && this.#articles.get(message.id).variants;
    if (!variants) return;
    variants.takeFocus(forward);
    this.place.putAt(variants, top);
  }

  #drawRun(view) {
    const run = liveRun(view);
    if (this.#run && this.#run.dataset.run !== String(run?.run_id)) {
      const answer = view.messages.findLast(({ run_id: id }) => String(id) === this.#run.dataset.run);
      if (answer) takeOver(this.#articles.get(answer.id), this.#run);
      this.#run.remove();
      this.#run = null;
    }
    if (run && !this.#run) put(this.list, (this.#run = runArticle(run)), lastIn(this.list));
    this.#live.follow(run);
    if (run) this.#run.grow(run);
  }

  // --- what the server has rendered

  // Asks for what can be seen, and for what is near.
  #look() {
    const { top, height } = this.log.getBoundingClientRect();
    const first = this.place.first();
    const near = [];
    const add = (article) => { if (article.rendered === false && article.dataset.id) near.push(Number(article.dataset.id)); };
    for (let one = first; one && one.getBoundingClientRect().top < top + (1 + AHEAD) * height; one = after(one)) add(one);
    for (let one = first && before(first); one && one.getBoundingClientRect().bottom > top - AHEAD * height; one = before(one)) add(one);
    this.#renderings.want(near);
    if (near.length === 0) this.#shown();
  }

  #lookSoon() {
    if (this.#looking) return;
    this.#looking = true;
    requestAnimationFrame(() => {
      this.#looking = false;
      this.#look();
    });
  }

  #rendered(came) {
    this.place.keep(() => came.forEach(({ id, html }) => this.#articles.get(id)?.render(html)));
    this.#shown();
  }

  #renderedLive(answer) {
    if (!this.#run) return;
    this.place.keep(() => this.#run.render(answer));
    if (answer) untilShown("delta-to-pixel", answer.since);
  }

  #shown() {
    if (this.#arrived !== null) untilShown("attach-to-paint", this.#arrived);
    this.#arrived = null;
  }

  // --- where the reader is

  // To a message of the transcript, however far up. Whether it is there.
  async show(id) {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const article = this.#articles.get(id);
      if (article) return this.#pointAt(article);
      const start = this.#start;
      // A message is younger than those before it.
      if (!this.#more || this.#messages[0].id < id) return false;
      await this.#ask(id);
      if (this.#start === start) return false;
    }
    return false;
  }

  #ask(id) {
    return this.older(id).catch(({ message }) => tell(this, "trouble", { text: message }));
  }

  #pointAt(article) {
    const { top, height } = this.log.getBoundingClientRect();
    const put = () => this.place.putAt(article, top + Math.min(height / 4, 120));
    put();
    requestAnimationFrame(() => requestAnimationFrame(put)); // what came into sight has its own height by then
    article.setAttribute("tabindex", "-1");
    article.focus({ preventScroll: true });
    article.classList.add("found");
    article.addEventListener("blur", () => article.classList.remove("found"), { once: true });
    this.#look();
    return true;
  }

  #moved() {
    hide(this.latest, this.place.following || this.place.atEnd, () => this.log.focus({ preventScroll: true }));
    this.#reach();
    this.#lookSoon();
  }

  // Nobody asked for an older page: that it cannot be had now is no trouble.
  #reach() {
    if (this.#open && this.#more && this.log.scrollTop < EARLY * this.log.clientHeight) this.older().catch(() => {});
  }

  // --- what is done with a message

  async #copy(text, button) {
    this.told.textContent = "";
    if (!(await copied(text))) return tell(this, "trouble", { text: words.notCopied });
    this.told.textContent = words.copied;
    showDone(button);
  }
}

// How many of the first, and of the last, two lists have in common.
function differing(old, now) {
  const most = Math.min(old.length, now.length);
  let first = 0;
  while (first < most && old[first] === now[first]) first++;
  let last = 0;
  while (last < most - first && old[old.length - 1 - last] === now[now.length - 1 - last]) last++;
  return [first, last];
}

const originalOf = ({ id, original }) => (original && !original.session_id ? original.message_id : id);

customElements.define("transcript-view", TranscriptView);
