// One session in the list: a link, and a menu of what can be done with it. Tells "open-session" {id, message},
// "rename-session" {id, title} and "delete-session" {id}.
import { h, say, sessionLink, tell } from "./dom.js";
import { locale } from "./locale.js";
import { marked } from "./marking.js";
import { menuButton } from "./menu.js";
import { sessionActions } from "./session-actions.js";
import { sessions as strings } from "./strings.js";
import { titleField } from "./title-field.js";

const time = new Intl.DateTimeFormat(locale, { timeStyle: "short" });
const date = new Intl.DateTimeFormat(locale, { day: "numeric", month: "short" });

// An <li> with `draw(session, {current, query, now})`, where a session found by a search may have a `match`, and with `rename()`.
export function sessionItem(id) {
  let shown = {}; // {session, query, day}: what is drawn already
  const title = h("span", { class: "name", dir: "auto" });
  const facts = h("span", { class: "aside" });
  const piece = h("span", { class: "piece aside", dir: "auto", hidden: true });
  const link = sessionLink(id, { tabindex: "-1", ondblclick: () => item.rename() }, title, facts, piece);
  const more = menuButton({ class: "quiet more", tabindex: "-1" }, () => sessionActions(item, id, item.rename), "⋯");
  const item = Object.assign(h("li", {}, link, more), { link });

  item.rename = () => {
    if (link.hidden) return;
    const field = titleField(shown.session.title, (title, back) => {
      link.hidden = more.hidden = false;
      if (back) link.focus();
      field.remove();
      if (title !== undefined) tell(item, "rename-session", { id, title });
    });
    link.hidden = more.hidden = true;
    item.prepend(field);
    field.focus();
    field.select();
  };

  item.draw = (session, { current, query, now }) => {
    if (id === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    const day = now.toDateString();
    if (session === shown.session && query === shown.query && day === shown.day) return;
    shown = { session, query, day };
    const named = strings.titled(session.title);
    const { match = null, agent_running: running, message_count: count = 0 } = session;
    if (query) title.replaceChildren(...marks(named, query));
    else say(title, named);
    say(facts, strings.facts(running ? strings.replying : when(session.updated_at, now), count));
    item.classList.toggle("running", Boolean(running));
    piece.hidden = !match;
    piece.replaceChildren(...(match ? [...marks(match.before, query), h("mark", {}, match.match), ...marks(match.after, query)] : []));
    link.setAttribute("href", match ? `/s/${id}#${match.message_id}` : `/s/${id}`);
    link.title = named;
    more.setAttribute("aria-label", strings.actions(named));
  };
  return item;
}

const marks = (text, query) => marked(text, query).map(({ text: part, hit }) => (hit ? h("mark", {}, part) : part));

// The hour for today and yesterday, as their heading says the day; the date for what is older.
function when(seconds, now) {
  const at = new Date(seconds * 1000);
  const yesterday = new Date(now.getFullYear(), now.getMonth(), now.getDate() - 1);
  return (at >= yesterday ? time : date).format(at);
}
