// The articles of a transcript, in stretches: boxes of a few each, which the browser skips while they are far off. Of ten thousand
// messages it then has a few hundred boxes to look at in every frame.
import { h } from "./dom.js";

const MOST = 25; // articles in a stretch, but for what is put between them later

export const firstIn = (list) => articleFrom(list.firstElementChild, "firstElementChild", "nextElementSibling");
export const lastIn = (list) => articleFrom(list.lastElementChild, "lastElementChild", "previousElementSibling");
export const after = (article) => article.nextElementSibling ?? articleFrom(article.parentElement.nextElementSibling, "firstElementChild", "nextElementSibling");
export const before = (article) => article.previousElementSibling ?? articleFrom(article.parentElement.previousElementSibling, "lastElementChild", "previousElementSibling");

// Behind another one, or at the very beginning (null).
export function put(list, article, behind) {
  const stretch = behind?.parentElement;
  if (stretch && (behind.nextElementSibling || stretch.childElementCount < MOST)) behind.after(article);
  else if (stretch) stretch.after(stretchOf(article));
  else list.prepend(stretchOf(article));
}

// Those that have nothing left in them.
export function tidy(list) {
  for (const stretch of [...list.children]) if (!stretch.firstElementChild) stretch.remove();
}

// The first that reaches below a line, `top` pixels from the top of the window; null where none does.
export function firstBelow(list, top) {
  const stretch = reaching(list.children, top);
  return (stretch && reaching(stretch.children, top)) ?? null;
}

function reaching(boxes, top) {
  let [low, high] = [0, boxes.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (boxes[middle].getBoundingClientRect().bottom > top) high = middle;
    else low = middle + 1;
  }
  return boxes[low];
}

const stretchOf = (article) => h("div", { class: "stretch" }, article);

function articleFrom(stretch, end, way) {
  let one = stretch;
  while (one && !one[end]) one = one[way];
  return one?.[end] ?? null;
}
