// One message, or the reply being written, as an <article>. Built once: messages never change.
import { h } from "./dom.js";

const WHO = { user: "You", assistant: "Assistant", system: "System message", tool: "Tool result" };
const FINISH = { stopped: "Stopped", failed: "The reply failed here", interrupted: "Interrupted" };

export function messageArticle(message) {
  const { role, extra } = message;
  const who = WHO[role] ?? role;
  const calls = Array.isArray(extra?.tool_calls) ? extra.tool_calls : [];
  const spoken = role === "user" || role === "assistant";
  const content = message.content === null && calls.length > 0 ? [] : contentBlocks(message.content);
  const at = typeof message.created_at === "number" ? new Date(message.created_at * 1000) : null;
  return h("article", { "data-id": message.id, "data-role": role },
    h("h2", { class: "unseen" }, who),
    spoken ? content : fold(named(who, extra?.name), content),
    calls.map((call) => fold(named("Called", call?.function?.name ?? call?.name), textBlock(callArguments(call), "code"))),
    FINISH[message.finish] && h("p", { class: "mark" }, FINISH[message.finish]),
    at && !Number.isNaN(at.getTime()) && h("time", { datetime: at.toISOString() }, at.toLocaleString([], { dateStyle: "medium", timeStyle: "short" })));
}

// Silent while it grows, or a screen reader would stammer; the finished message is then read as a whole.
export function runArticle(run) {
  const text = textBlock(run.text);
  const article = h("article", { "data-run": run.run_id, "data-role": "assistant", "aria-live": "off" },
    h("h2", { class: "unseen" }, "Assistant, writing"), text);
  article.grow = (whole) => {
    const shown = text.firstChild?.length ?? 0;
    if (text.firstChild) text.firstChild.appendData(whole.slice(shown));
    else text.append(whole);
  };
  return article;
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
