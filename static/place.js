// The reader's place in the transcript: at its end, which is followed as it grows, or where they scrolled to, which stays under
// their eyes whatever changes above. `moved` is told when either may have changed.

import { firstBelow } from "./stretches.js";

const NEAR = 32; // pixels from the end that still count as there

export class ReadingPlace {
  #log; // what scrolls
  #list; // its articles
  #moved;
  #top = 0; // where the last scrolling led
  #height = 0; // of the window on the transcript, when that was
  #anchors = []; // [element, how far below the upper edge it was]: the first article to be seen, and what is first in there

  constructor({ log, list, column }, moved) {
    [this.#log, this.#list, this.#moved] = [log, list, moved];
    this.following = true;
    log.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    // Opening a fold is reading, not asking for the end.
    log.addEventListener("click", ({ target }) => { if (target.closest("summary")) this.leaveEnd(); });
    // Between layout and paint: whatever has changed its size, nobody sees it jump.
    const observer = new ResizeObserver(() => this.settle());
    observer.observe(log);
    observer.observe(column);
  }

  get atEnd() {
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    return scrollHeight - scrollTop - clientHeight < NEAR;
  }

  toEnd() {
    this.following = true;
    this.settle();
  }

  leaveEnd() {
    this.following = false;
    this.#remember();
  }

  // Puts something where it was, `top` pixels from the top of the window, and stays there.
  putAt(element, top) {
    this.following = false;
    this.#log.scrollTop += element.getBoundingClientRect().top - top;
    this.#remember();
  }

  // Does what changes the content, with the reader where they were.
  keep(change) {
    if (!this.following) this.#remember();
    change();
    if (this.following) this.#log.scrollTop = this.#log.scrollHeight;
    else this.#hold();
  }

  // After every change of size, of the content or of the window.
  settle() {
    const { clientHeight } = this.#log;
    if (this.following) this.#log.scrollTop = this.#log.scrollHeight;
    else {
      this.#hold();
      this.following = this.atEnd;
    }
    this.#height = clientHeight;
    this.#top = this.#log.scrollTop; // more room moves what is scrolled too: that is no reader who goes up
    this.#moved();
  }

  // The first article that can be seen, if any.
  first() {
    return firstBelow(this.#list, this.#log.getBoundingClientRect().top);
  }

  #scrolled() {
    const { scrollTop, clientHeight } = this.#log;
    if (clientHeight !== this.#height) return; // a notice came or went; nobody scrolled
    // Not at the end alone says nothing: the content may have grown since. Going up is what a reader does.
    if (this.atEnd) this.following = true;
    else if (scrollTop < this.#top) this.following = false;
    this.#top = scrollTop;
    this.#remember();
    this.#moved();
  }

  #remember() {
    const { top } = this.#log.getBoundingClientRect();
    this.#anchors = [];
    for (let one = this.first(), depth = 0; one && depth < 4; depth++) {
      this.#anchors.push([one, one.getBoundingClientRect().top - top]);
      one = [...one.children].find((child) => child.getBoundingClientRect().bottom > top);
    }
  }

  #hold() {
    const [anchor, was] = this.#anchors.findLast(([one]) => one.isConnected) ?? [];
    if (!anchor) return;
    const moved = anchor.getBoundingClientRect().top - this.#log.getBoundingClientRect().top - was;
    if (Math.abs(moved) >= 1) this.#log.scrollTop += moved;
  }
}
