// What can be done with a message: a toolbar below each. All of them are one stop on the way of the Tab key, or a long transcript
// would be hundreds; arrow keys lead from button to button, and from message to message. Tells "copy-text" {text}, "edit" {id}, "retry"
// and "branch" {id}.
import { h, hide, icon, tell } from "./dom.js";
import { after, before, lastIn } from "./stretches.js";
import { transcript as words } from "./strings.js";
import { textOf } from "./transcript.js";

const DRAWN = {
  copy: "M9.5 8.5h8a2 2 0 0 1 2 2v8a2 2 0 0 1-2 2h-8a2 2 0 0 1-2-2v-8a2 2 0 0 1 2-2zM4.5 15.5v-10a2 2 0 0 1 2-2h9",
  edit: "M4 20l1.2-4.6L15.9 4.7a2.05 2.05 0 0 1 2.9 0l.5.5a2.05 2.05 0 0 1 0 2.9L8.6 18.8zM13.7 6.9l3.4 3.4",
  retry: "M19.5 12.5A7.5 7.5 0 1 1 17 6.6l2.5 2.4M19.5 4v5h-5",
  branch: "M6.5 8v8M6.5 8a2.25 2.25 0 1 0 0-4.5 2.25 2.25 0 0 0 0 4.5zM6.5 20.5a2.25 2.25 0 1 0 0-4.5 2.25 2.25 0 0 0 0 4.5zM17.5 10a2.25 2.25 0 1 0 0-4.5 2.25 2.25 0 0 0 0 4.5zM17.5 10c0 4.5-6 3-10 6.2",
  done: "M5 12.5l4.6 4.6L19.5 7",
};
const DONE = 1600; // for so many milliseconds a button shows that it has copied

export function actionBar({ id, role, content }) {
  const of = (name, type, detail) => {
    const button = actionButton(name, words[name], { "data-action": name, tabindex: "-1", onclick: () => tell(button, type, detail()) });
    return button;
  };
  const retry = of("retry", "retry", () => null);
  const bar = h("div", { class: "tools", role: "toolbar", "aria-label": words.actions(id) },
    content !== null && of("copy", "copy-text", () => ({ text: textOf(content) })),
    role === "user" && of("edit", "edit", () => ({ id })),
    retry,
    of("branch", "branch", () => ({ id })));
  // Only the last turn can be asked again.
  bar.draw = (last) => hide(retry, !last, () => [...bar.children].find((button) => button !== retry).focus());
  bar.draw(false);
  return bar;
}

export const actionButton = (name, said, attributes) =>
  h("button", { type: "button", class: "quiet act", title: said, "aria-label": said, ...attributes }, icon(DRAWN[name]));

export function showDone(button) {
  const before = button.firstChild;
  if (button.dataset.done) return;
  button.dataset.done = "true";
  before.replaceWith(icon(DRAWN.done));
  setTimeout(() => {
    delete button.dataset.done;
    button.firstChild.replaceWith(before);
  }, DONE);
}

// Which button Tab leads to: where one was last, else on the last message.
export class OneStop {
  #list;
  #stop = null;

  constructor(list) {
    this.#list = list;
    list.addEventListener("focusin", ({ target }) => { if (target.matches(".tools button")) this.#lead(target); });
    list.addEventListener("keydown", (event) => this.#pressed(event));
  }

  // After messages came or went.
  settle() {
    if (this.#stop?.isConnected && this.#stop.matches(":focus")) return;
    const bar = barFrom(lastIn(this.#list), before);
    if (bar) this.#lead(firstShown(bar));
  }

  #lead(button) {
    this.#stop?.setAttribute("tabindex", "-1");
    button.setAttribute("tabindex", "0");
    this.#stop = button;
  }

  #pressed(event) {
    const { key, target } = event;
    if (event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || !target.matches(".tools button")) return;
    const to = this.#to(key, target);
    if (!to) return;
    event.preventDefault();
    to.focus();
  }

  #to(key, from) {
    const buttons = [...from.parentElement.children].filter((button) => !button.hidden);
    const forward = getComputedStyle(from).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const backward = forward === "ArrowRight" ? "ArrowLeft" : "ArrowRight";
    const at = buttons.indexOf(from);
    switch (key) {
      case forward: return buttons[(at + 1) % buttons.length];
      case backward: return buttons.at(at - 1);
      case "Home": return buttons[0];
      case "End": return buttons.at(-1);
      case "ArrowUp": return this.#beside(from, before);
      case "ArrowDown": return this.#beside(from, after);
      default: return null;
    }
  }

  // The same button of the next message that way, or its first.
  #beside(from, way) {
    const bar = barFrom(way(from.closest("article")), way);
    return bar?.querySelector(`[data-action="${from.dataset.action}"]:not([hidden])`) ?? (bar && firstShown(bar)) ?? from;
  }
}

const firstShown = (bar) => [...bar.children].find((button) => !button.hidden);

// The toolbar of this article or of the next one that way which has any: what is being written or leaves has none.
function barFrom(article, way) {
  let one = article;
  while (one && !one.actions) one = way(one);
  return one?.actions;
}
