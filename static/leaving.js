// Articles that are taken off: they fade where they stood, and their place closes. Nobody but the eye meets them any more.
import { h } from "./dom.js";

const TIME = 200; // milliseconds

// Takes them out of the list; where they shall fade, those side by side leave together.
export function leave(articles, fading) {
  const still = !fading || matchMedia("(prefers-reduced-motion: reduce)").matches;
  const seen = still ? [] : articles.filter(isOnScreen);
  for (const article of articles) if (!seen.includes(article)) article.remove();
  let group = null;
  for (const article of seen) {
    if (!group || group.nextElementSibling !== article) {
      group = h("div", { class: "leaving", "aria-hidden": "true", inert: true });
      article.before(group);
    }
    delete article.dataset.id;
    group.append(article);
  }
  new Set(seen.map((article) => article.parentElement)).forEach(fade);
}

export const isLeaving = (element) => element?.classList.contains("leaving") ?? false;

function isOnScreen(article) {
  const { top, bottom } = article.getBoundingClientRect();
  return bottom > 0 && top < innerHeight;
}

function fade(group) {
  const height = `${group.getBoundingClientRect().height}px`;
  group.animate([{ height, opacity: 1 }, { opacity: 0, offset: 0.6 }, { height: 0, opacity: 0 }], { duration: TIME, easing: "ease-out" })
    .finished.then(() => group.remove(), () => group.remove());
}
