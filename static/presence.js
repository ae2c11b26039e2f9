// Who else has the session open: how many, and on pointing at it (or listening) their names. Hidden while one is alone.
import { h } from "./dom.js";

class WhoIsHere extends HTMLElement {
  // `mine` are one's own connections: one that is lost may still be there. Of many not all are named.
  draw({ count, present }, mine) {
    this.hidden = count < 2;
    const names = present.map(({ connection, name }) => (mine.includes(connection) ? `${name} (you)` : name));
    if (count > names.length) names.push(`and ${count - names.length} more`);
    this.title = names.join("\n");
    this.replaceChildren(`${count} here`, h("span", { class: "unseen" }, ": ", names.map((name, at) => [at > 0 && ", ", h("bdi", {}, name)]).flat()));
  }
}

customElements.define("who-is-here", WhoIsHere);
