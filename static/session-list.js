// The sessions, last changed first, by the day of that; or what a search found. Elements are kept by id, so that focus and scroll
// position are. Tells "new-session", "choose-files", "more-sessions", and what its items and its search field tell.
import { byDay } from "./days.js";
import { h, hide, say, tell } from "./dom.js";
import { buttonOfMenu, closeMenus } from "./menu.js";
import { sessionItem } from "./session-item.js";
import "./session-search.js";
import { sessions as strings } from "./strings.js";

class SessionList extends HTMLElement {
  #items = new Map(); // by session
  #groups = new Map(); // by day
  #current = null;
  #drawing = false;

  connectedCallback() {
    if (this.list) return;
    this.begin = h("button", { type: "button", class: "new", onclick: () => tell(this, "new-session") }, strings.new);
    this.search = h("session-search", { "onto-sessions": () => this.#links()[0]?.focus() });
    this.list = h("div", {});
    this.empty = h("p", { class: "nothing aside", hidden: true });
    this.more = h("button", { type: "button", class: "quiet", hidden: true, onclick: () => tell(this, "more-sessions") }, strings.more);
    this.nav = h("nav", { "aria-label": strings.list, onkeydown: (event) => this.#pressed(event), onfocusin: ({ target }) => this.#point(target) },
      this.list, this.empty, this.more);
    this.append(
      h("div", { class: "begin" }, this.begin,
        h("button", { type: "button", class: "import", title: strings.importTitle, onclick: () => tell(this, "choose-files") }, strings.import)),
      this.search, this.nav);
    new IntersectionObserver(([{ isIntersecting }]) => isIntersecting && tell(this, "more-sessions"), { root: this.nav, rootMargin: "400px" })
      .observe(this.more);
  }

  // `apart` is the open one where it is none of the sessions; `found` as a catalog has it; `known` is whether the server has said
  // what there is.
  draw({ sessions, apart, current, more, found, known, now = new Date() }) {
    const query = found?.sessions ? found.query : "";
    const groups = query ? [{ key: "found", sessions: found.sessions }] : byDay(sessions, now);
    if (apart && !query) groups.unshift({ key: "open", sessions: [apart] });
    const shown = groups.flatMap((group) => group.sessions);
    this.#keepingFocus(() => {
      this.#forget(new Set(shown.map(({ session_id: id }) => id)), new Set(groups.map(({ key }) => key)));
      this.#arrange(this.list, groups.map((group) => this.#group(group)));
      for (const group of groups) this.#arrange(this.#groups.get(group.key).list, group.sessions.map((session) => {
        const item = this.#item(session.session_id);
        item.draw(session, { current, query, now });
        return item;
      }));
    });
    this.search.draw(found);
    hide(this.more, !more || Boolean(query), () => (this.#links().at(-1) ?? this.begin).focus());
    this.empty.hidden = shown.length > 0 || !known;
    say(this.empty, query ? strings.nothingFound(query) : strings.none);
    const opened = current !== this.#current && this.#items.get(current);
    this.#point(opened ? opened.link : this.#tabbable() ?? this.#links()[0]);
    if (!known) return; // the others are still to come above it
    if (opened) opened.scrollIntoView({ block: "nearest" });
    if (opened || current === null) this.#current = current;
  }

  rename(id) { this.#items.get(id)?.rename(); }

  #item(id) {
    if (!this.#items.has(id)) this.#items.set(id, sessionItem(id));
    return this.#items.get(id);
  }

  #group({ key, day }) {
    if (!this.#groups.has(key)) {
      const heading = h("h2", { class: key === "found" && "unseen" }, strings.days[key] ?? strings.month(day));
      const list = h("ul");
      this.#groups.set(key, Object.assign(h("section", {}, heading, list), { list }));
    }
    return this.#groups.get(key);
  }

  // Moves only what is out of its place; what is not wanted any more must be gone.
  #arrange(parent, children) {
    let next = parent.firstElementChild;
    for (const child of children) {
      if (child === next) next = next.nextElementSibling;
      else {
        closeMenus(child);
        parent.insertBefore(child, next);
      }
    }
  }

  #forget(ids, keys) {
    for (const [id, item] of this.#items) if (!ids.has(id)) this.#drop(this.#items, id, item);
    for (const [key, group] of this.#groups) if (!keys.has(key)) this.#drop(this.#groups, key, group);
  }

  #drop(kept, key, element) {
    closeMenus(element);
    element.remove();
    kept.delete(key);
  }

  // Moving an element takes the focus from it; where it is gone, what took its place has it.
  #keepingFocus(draw) {
    const { activeElement: focused } = document;
    if (!this.nav.contains(focused)) return draw();
    const back = buttonOfMenu(focused) ?? focused;
    const at = this.#links().findIndex((link) => link.parentElement.contains(focused));
    this.#drawing = true;
    draw();
    this.#drawing = false;
    if (document.activeElement === focused) return;
    if (back.isConnected) return back.focus({ preventScroll: true });
    const links = this.#links();
    (links[at] ?? links.at(-1) ?? this.begin).focus();
  }

  // One stop for the tab key, and its menu: the arrow keys lead on.
  #point(target) {
    const item = target?.closest("li");
    if (!item || this.#drawing) return;
    for (const element of this.nav.querySelectorAll("li > [tabindex='0']")) element.tabIndex = -1;
    for (const element of item.querySelectorAll("a, button.more")) element.tabIndex = 0;
  }

  #tabbable() { return this.nav.querySelector("li > a[tabindex='0']"); }

  #links() { return [...this.nav.querySelectorAll("li > a")]; }

  #pressed(event) {
    const item = event.target.closest("li");
    if (!item || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const links = this.#links();
    const at = links.indexOf(item.link);
    if (event.key === "F2") item.rename();
    else if (event.key === "ArrowUp" && at === 0) this.search.field.focus();
    else if (event.key === "ArrowUp") links[at - 1].focus();
    else if (event.key === "ArrowDown") links[at + 1]?.focus();
    else if (event.key === "Home") links[0].focus();
    else if (event.key === "End") links.at(-1).focus();
    else if (event.key === "Escape" && this.search.field.value) {
      this.search.clear();
      this.search.field.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

customElements.define("session-list", SessionList);
