// What the session takes: which model replies and with which personality, both to be chosen here, and the tokens and the cost so far.
// Tells "choose-model" and "choose-personality" {value}. Whoever wires it sets `complete`: (line) → {candidates}, and `usage`: () → the
// data of /usage.
import { h, say, tell } from "./dom.js";
import { money } from "./figures.js";
import { figure, locale } from "./locale.js";
import { Sheet } from "./sheet.js";
import { frame as strings } from "./strings.js";
import "./value-chooser.js";

const NONE = "none"; // how a command calls it

class SessionFooter extends HTMLElement {
  complete = null;
  usage = null;
  #session = {};

  connectedCallback() {
    if (this.model) return;
    this.model = this.#chooser("model", strings.model);
    this.personality = this.#chooser("personality", strings.personality);
    [this.tokens, this.cost] = [h("span"), h("span", { class: "cost" })];
    this.spent = h("button", { type: "button", class: "quiet" }, h("span", { class: "unseen" }, `${strings.spent}: `), this.tokens, this.cost);
    this.figures = h("dl");
    this.sheet = h("div", { class: "sheet", role: "dialog", "aria-label": strings.spent, tabindex: "-1" }, this.figures);
    new Sheet(this.spent, this.sheet, () => this.#opened());
    this.append(this.model, this.personality, h("div", { class: "spent" }, this.spent, this.sheet));
    this.hidden = true;
  }

  // `session` as `attached` has it; null where there is none yet. `models`: whether something with models replies here.
  draw({ session, models, running }) {
    this.#session = session ?? {};
    const { next_model: next = null, model_chosen: chosen = false, personality = null } = this.#session;
    this.model.hidden = !models;
    this.model.draw({ value: chosen ? next : null, label: next ?? strings.model.none, aside: next && !chosen ? strings.serversChoice : "", running });
    this.personality.hidden = !models && personality === null;
    this.personality.draw({ value: personality, label: personality ?? strings.personality.none, running });
    const some = this.#session.total_tokens > 0;
    this.spent.parentElement.hidden = !some;
    if (some) say(this.tokens, totalLine(this.#session));
    if (some) say(this.cost, costLine(this.#session));
    this.hidden = !models && !some && personality === null;
  }

  #chooser(command, words) {
    const chooser = document.createElement("value-chooser");
    chooser.words = words;
    chooser.find = async (typed) => {
      const { candidates } = await this.complete(`/${command} ${typed}`);
      return candidates.map(({ value }) => value).filter((value) => value !== NONE);
    };
    chooser.addEventListener("choose", ({ detail }) => tell(this, "choose-value", { line: `/${command} ${detail.value ?? NONE}` }));
    return chooser;
  }

  async #opened() {
    this.#figures(this.#session);
    this.sheet.focus();
    try {
      const { on_screen: onScreen, context_tokens: context, ...all } = await this.usage();
      this.#figures({ ...this.#session, ...all }, onScreen, context);
    } catch {
      // Without a connection there is only what was told before.
    }
  }

  #figures(all, onScreen, context) {
    const rows = [
      [strings.input, tokensOf(all.input_tokens, all.cached_tokens, strings.cached)],
      [strings.output, tokensOf(all.output_tokens, all.reasoning_tokens, strings.reasoning)],
      [strings.cost, costLine(all) + (all.unpriced && all.estimated_cost !== null ? strings.unpriced(all.unpriced) : "")],
      onScreen && [strings.onScreen, onScreen.total_tokens ? `${totalLine(onScreen)} · ${costLine(onScreen)}` : strings.nothing],
      context !== undefined && [strings.next, strings.nextTokens(figure(context))],
    ].filter(Boolean);
    this.figures.replaceChildren(...rows.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
  }
}

const tokensOf = (count, part, of) => strings.tokens(count, figure(count)) + (part ? ` (${of(figure(part))})` : "");

function totalLine({ total_tokens: tokens, estimated }) {
  const counted = strings.tokens(tokens, figure(tokens));
  return estimated ? strings.about(counted) : counted;
}

function costLine({ estimated_cost: cost, estimated, unpriced }) {
  if (typeof cost !== "number") return strings.costUnknown;
  const sum = unpriced ? strings.andMore(money(cost, locale)) : money(cost, locale);
  return estimated ? strings.about(sum) : sum;
}

customElements.define("session-footer", SessionFooter);
