// One message, or the reply being written, as an <article>. Built once: of a message nothing changes but how many variants it has,
// whether it is the last, and that its texts are rendered.
import { actionBar } from "./actions.js";
import { dress } from "./code.js";
import { h, say, undisturbed } from "./dom.js";
import { cost, tokens } from "./figures.js";
import { morph, parsed } from "./html.js";
import { locale } from "./locale.js";
import { transcript as words } from "./strings.js";
import { variantSwitch } from "./variants.js";

const WHEN = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short" }); // made once: that takes long

// Whether the server renders what such a message says.
const isRendered = ({ role }) => role === "user" || role === "assistant";

export function messageArticle(message) {
  const { role, extra } = message;
  const who = words.who[role] ?? role;
  const calls = Array.isArray(extra?.tool_calls) ? extra.tool_calls : [];
  const content = message.content === null && calls.length > 0 ? [] : contentBlocks(message);
  const variants = variantSwitch(message.id);
  const actions = actionBar(message);
  const folded = isRendered(message) ? content.length === 0 && calls.length > 0 && !message.reasoning && !message.finish : true;
  const article = h("article", { "data-id": message.id, "data-role": role, class: folded && "folded" },
    h("h2", { class: "unseen" }, who),
    message.reasoning && reasoningFold(words.reasoning, message.reasoning),
    isRendered(message) ? content : fold(named(who, extra?.name), glance(message.content), content),
    calls.map((call) => calledFold(call)),
    ending(message),
    h("div", { class: "foot" }, variants, facts(message), actions, numberAndTime(message)));
  article.variants = variants;
  article.actions = actions;
  article.blocks = isRendered(message) ? content.filter((block) => block.source !== undefined) : [];
  article.rendered = article.blocks.length === 0; // nothing is to come
  if (role === "assistant") article.blocks.forEach(expect);
  article.render = (html) => {
    article.rendered = true;
    article.blocks.forEach((block, number) => show(block, html[number] ?? null));
  };
  variants.draw(message.variant);
  return article;
}

// Silent while it grows, or a screen reader would stammer; the finished message is then read as a whole.
export function runArticle(run) {
  const reasoning = reasoningFold("", "");
  const summary = reasoning.firstChild;
  const waiting = h("p", { class: "mark busy" }, words.waiting);
  const text = textBlock("");
  const article = h("article", { "data-run": run.run_id, "data-role": "assistant", "aria-live": "off" },
    h("h2", { class: "unseen" }, words.writing), reasoning, waiting, text);
  let stable = 0; // how many of the text's nodes cannot change any more
  article.blocks = [text];
  article.grow = (now) => {
    lengthen(reasoning.lastChild, now.reasoning);
    text.source = now.text;
    if (!isHtml(text)) lengthen(text, now.text);
    reasoning.hidden = !now.reasoning;
    text.hidden = !now.text;
    waiting.hidden = Boolean(now.reasoning || now.text);
    const thinking = !now.text;
    summary.classList.toggle("busy", thinking);
    say(summary, thinking ? words.thinking : words.reasoning);
  };
  // What the server made of the text so far, see LiveRendering; null: nothing, or nothing more.
  article.render = (answer) => {
    if (!answer) {
      stable = 0;
      return show(text, null);
    }
    const more = dress(parsed(answer.html));
    const settled = stable + more.childNodes.length;
    more.append(dress(parsed(answer.tail)));
    begin(text);
    morph(text, more, stable);
    stable = settled;
  };
  expect(text);
  article.grow(run);
  return article;
}

// A message, which is in the page already, takes the place of the live one, or of one that it is a copy of: what was rendered stays
// until it is anew, and a fold that one has opened stays open.
export function takeOver(article, old) {
  const [after, before] = [article, old].map((one) => one.querySelector("details.reasoning > summary"));
  const held = before && document.activeElement === before;
  undisturbed(() => article.blocks.forEach((block, number) => {
    const was = old.blocks[number];
    if (!was || !isHtml(was)) return;
    const scrolled = [...was.querySelectorAll("pre, .table")].map((box) => [box, box.scrollLeft]);
    begin(block);
    block.replaceChildren(...was.childNodes);
    for (const [box, left] of scrolled) box.scrollLeft = left;
  }));
  if (old.rendered) article.rendered = true;
  if (!after || !before) return;
  after.parentElement.open = before.parentElement.open;
  if (held) after.focus({ preventScroll: true });
}

const isHtml = (block) => block.classList.contains("html");

// Plain text that is about to be rendered is held back for a moment, rather than change under the eyes.
const expect = (block) => block.classList.add("expected");

function begin(block) {
  if (isHtml(block)) return;
  // A screen reader has heard it, or will hear the whole.
  block.setAttribute("aria-live", "off");
  block.classList.remove("expected");
  block.classList.add("html");
  block.replaceChildren();
}

// The block's text as HTML, or, where there is none, as it is.
function show(block, html) {
  if (html !== null) {
    begin(block);
    return morph(block, dress(parsed(html)));
  }
  block.classList.remove("expected");
  if (!isHtml(block)) return; // it is that already
  block.classList.remove("html");
  block.replaceChildren(block.source);
}

function lengthen(block, whole) {
  const shown = block.firstChild?.length ?? 0;
  if (block.firstChild) block.firstChild.appendData(whole.slice(shown));
  else if (whole) block.append(whole);
}

// How the reply ended, where it is not simply complete.
function ending({ finish, content, note }) {
  if (finish === "failed") {
    return h("p", { class: "failure" }, h("strong", {}, content ? words.failedHere : words.failed), " ", h("span", { dir: "auto" }, note ?? ""));
  }
  const said = [words.finish[finish], note].filter(Boolean);
  return said.length > 0 && h("p", { class: "mark end", dir: "auto" }, said.join(". "));
}

// The number that commands know it by, and when it was said.
function numberAndTime({ id, created_at: seconds }) {
  const at = typeof seconds === "number" ? new Date(seconds * 1000) : null;
  const time = at && !Number.isNaN(at.getTime()) && h("time", { datetime: at.toISOString() }, WHEN.format(at));
  return [time, h("span", { class: "number" }, `#${id}`)];
}

// What answered, and what that took.
function facts(message) {
  const known = [typeof message.model === "string" && message.model, tokens(message.usage, words.took, locale), cost(message, words.took, locale)].filter(Boolean);
  return known.length > 0 && h("p", { class: "facts", dir: "auto" }, known.join(" · "));
}

function contentBlocks({ content, extra }) {
  if (typeof content === "string") return content ? [textBlock(content)] : [];
  if (Array.isArray(content)) return content.map((part) => partBlock(part, extra));
  return [rawBlock(json(content))];
}

function partBlock(part, extra) {
  if (typeof part === "string") return textBlock(part);
  if (part?.type === "text" && typeof part.text === "string") return textBlock(part.text);
  const url = part?.type === "image_url" ? part.image_url?.url ?? part.image_url : null;
  // Only what is already here is shown: fetching an address out of a message would tell its owner that it was read.
  if (typeof url === "string" && url.startsWith("data:image/")) return h("img", { src: url, alt: words.image });
  if (typeof url === "string") return aside(words.imageElsewhere, " ", webLink(url));
  if (part?.type === "image_asset_pointer") return aside(words.imageLeftBehind(fileName(part, extra)));
  if (/^(audio|real_time_user_audio_video)_asset_pointer$/.test(part?.type)) return aside(words.recordingLeftBehind);
  return fold(named(words.attachment, part?.type), null, rawBlock(json(part)));
}

// What the file of an asset pointer was called; exports tell only of what a person uploaded.
function fileName({ asset_pointer: pointer }, extra) {
  const files = extra?.metadata?.attachments;
  if (typeof pointer !== "string" || !Array.isArray(files)) return null;
  const name = files.find((file) => typeof file?.id === "string" && file.id && pointer.endsWith(file.id))?.name;
  return typeof name === "string" ? name : null;
}

// `source` is what a block says before it is rendered; one that never is has none.
function textBlock(text) {
  const block = h("div", { class: "text", dir: "auto" }, text);
  block.source = text;
  return block;
}

const rawBlock = (text) => h("div", { class: "text code", dir: "auto" }, text);
const aside = (...said) => h("div", { class: "text aside", dir: "auto" }, ...said);
const webLink = (url) => (/^https?:/i.test(url) ? h("a", { href: url, target: "_blank", rel: "noopener noreferrer nofollow" }, url) : url);
const fold = (summary, inside, content) => h("details", {}, h("summary", {}, summary, inside && h("span", { class: "glance", dir: "auto" }, inside)), content);
const reasoningFold = (summary, text) => h("details", { class: "reasoning" }, h("summary", {}, summary), textBlock(text));
const named = (what, name) => h("span", { class: "named" }, what, ...(typeof name === "string" && name ? [": ", h("bdi", {}, name)] : []));
const json = (value) => JSON.stringify(value, null, 2) ?? "";

// The beginning of what is folded, on one line.
const glance = (content) => (typeof content === "string" ? content.slice(0, 200).replace(/\s+/g, " ").trim().slice(0, 120) : null);

function calledFold(call) {
  const given = call?.function?.arguments ?? call?.arguments ?? call;
  const text = argumentsOf(given);
  return fold(named(words.called, call?.function?.name ?? call?.name), glance(text), rawBlock(text));
}

function argumentsOf(given) {
  if (typeof given !== "string") return json(given);
  try {
    return json(JSON.parse(given));
  } catch {
    return given;
  }
}
