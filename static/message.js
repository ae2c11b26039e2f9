// One message, or the reply being written, as an <article>. Built once: of a message nothing changes but how many variants it has.
import { h, say } from "./dom.js";
import { cost, tokens } from "./figures.js";
import { variantSwitch } from "./variants.js";

const WHO = { user: "You", assistant: "Assistant", system: "System message", tool: "Tool result" };
const FINISH = { stopped: "Stopped", interrupted: "Interrupted" };

export function messageArticle(message) {
  const { role, extra } = message;
  const who = WHO[role] ?? role;
  const calls = Array.isArray(extra?.tool_calls) ? extra.tool_calls : [];
  const spoken = role === "user" || role === "assistant";
  const content = message.content === null && calls.length > 0 ? [] : contentBlocks(message.content);
  const variants = variantSwitch(message.id);
  const article = h("article", { "data-id": message.id, "data-role": role },
    h("h2", { class: "unseen" }, who),
    message.reasoning && reasoningFold("Reasoning", message.reasoning),
    spoken ? content : fold(named(who, extra?.name), content),
    calls.map((call) => fold(named("Called", call?.function?.name ?? call?.name), textBlock(callArguments(call), "code"))),
    ending(message),
    h("div", { class: "foot" }, variants, facts(message), numberAndTime(message)));
  article.variants = variants;
  variants.draw(message.variant);
  return article;
}

// Silent while it grows, or a screen reader would stammer; the finished message is then read as a whole.
export function runArticle(run) {
  const reasoning = reasoningFold("", "");
  const summary = reasoning.firstChild;
  const waiting = h("p", { class: "mark busy" }, "Waiting for the first word…");
  const text = textBlock("");
  const article = h("article", { "data-run": run.run_id, "data-role": "assistant", "aria-live": "off" },
    h("h2", { class: "unseen" }, "Assistant, writing"), reasoning, waiting, text);
  article.grow = (now) => {
    lengthen(reasoning.lastChild, now.reasoning);
    lengthen(text, now.text);
    reasoning.hidden = !now.reasoning;
    text.hidden = !now.text;
    waiting.hidden = Boolean(now.reasoning || now.text);
    const thinking = !now.text;
    summary.classList.toggle("busy", thinking);
    say(summary, thinking ? "Thinking…" : "Reasoning");
  };
  article.grow(run);
  return article;
}

// The finished message takes the place of the live one: a fold that one has opened stays open, and keeps the focus.
export function takeOver(article, live) {
  const [after, before] = [article, live].map((one) => one.querySelector("details.reasoning"));
  if (!after) return;
  after.open = before.open;
  if (before.contains(document.activeElement)) after.firstChild.focus();
}

function lengthen(block, whole) {
  const shown = block.firstChild?.length ?? 0;
  if (block.firstChild) block.firstChild.appendData(whole.slice(shown));
  else if (whole) block.append(whole);
}

// How the reply ended, where it is not simply complete.
function ending({ finish, content, note }) {
  if (finish === "failed") {
    return h("p", { class: "failure" }, h("strong", {}, content ? "The reply failed here." : "The reply failed."), " ", h("span", { dir: "auto" }, note ?? ""));
  }
  const said = [FINISH[finish], note].filter(Boolean);
  return said.length > 0 && h("p", { class: "mark end", dir: "auto" }, said.join(". "));
}

// The number that commands know it by, and when it was said.
function numberAndTime({ id, created_at: seconds }) {
  const at = typeof seconds === "number" ? new Date(seconds * 1000) : null;
  const time = at && !Number.isNaN(at.getTime()) && h("time", { datetime: at.toISOString() }, at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" }));
  return [h("span", { class: "number" }, `#${id}`), time];
}

// What answered, and what that took.
function facts(message) {
  const known = [typeof message.model === "string" && message.model, tokens(message.usage), cost(message)].filter(Boolean);
  return known.length > 0 && h("p", { class: "facts", dir: "auto" }, known.join(" · "));
}

function contentBlocks(content) {
  if (typeof content === "string") return content ? [textBlock(content)] : [];
  if (Array.isArray(content)) return content.map(partBlock);
  return [textBlock(json(content), "code")];
}

function partBlock(part) {
  if (typeof part === "string") return textBlock(part);
  if (part?.type === "text" && typeof part.text === "string") return textBlock(part.text);
  const url = part?.type === "image_url" ? part.image_url?.url ?? part.image_url : null;
  // Only what is already here is shown: fetching an address out of a message would tell its owner that it was read.
  if (typeof url === "string" && url.startsWith("data:image/")) return h("img", { src: url, alt: "Image in the message" });
  if (typeof url === "string") return textBlock(`Image: ${url}`, "aside");
  return fold(named("Attachment", part?.type), textBlock(json(part), "code"));
}

const textBlock = (text, kind) => h("div", { class: kind ? `text ${kind}` : "text", dir: "auto" }, text);
const fold = (summary, content) => h("details", {}, h("summary", {}, summary), content);
const reasoningFold = (summary, text) => h("details", { class: "reasoning" }, h("summary", {}, summary), textBlock(text));
const named = (what, name) => (typeof name === "string" && name ? [`${what}: `, h("bdi", {}, name)] : what);
const json = (value) => JSON.stringify(value, null, 2) ?? "";

function callArguments(call) {
  const given = call?.function?.arguments ?? call?.arguments ?? call;
  if (typeof given !== "string") return json(given);
  try {
    return json(JSON.parse(given));
  } catch {
    return given;
  }
}
