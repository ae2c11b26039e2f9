// The view of one session and how what the server says changes it. Pure: no DOM, no clock, no imports.

export const emptyView = () => ({ revision: 0, log: null, start: 0, messages: [], run: null, session: {}, presence: null });

// Returns the next view. `messages` stays the same array when it did not change, so that drawing can skip it.
// Throws when a splice does not fit: the view is torn, and only a fresh `attached` can mend it.
export function apply(view, method, params) {
  switch (method) {
    case "attached": return attached(view, params);
    case "transcript.spliced": return spliced(view, params);
    case "session.updated":
      return { ...view, revision: Math.max(view.revision, params.revision), session: { ...view.session, ...params.session } };
    case "presence": return { ...view, presence: params };
    case "run.started": return { ...view, run: { run_id: params.run_id, text: "", reasoning: "" } };
    case "run.delta": return grown(view, params, "text");
    case "run.reasoning": return grown(view, params, "reasoning");
    case "run.ended": return view.run?.run_id === params.run_id ? { ...view, run: null } : view;
    default: return view; // a newer server may say more
  }
}

// An older page from `messages`, put before what the view holds; dropped when the transcript moved meanwhile.
export function prepend(view, { messages, start }) {
  if (start + messages.length !== view.start) return view;
  return { ...view, start, messages: [...messages, ...view.messages] };
}

// The run to show as a message: the splice with the answer comes before `run.ended`, and from then on the answer stands there.
export function liveRun(view) {
  const last = view.messages.at(-1);
  return view.run && !(last?.role === "assistant" && last.run_id === view.run.run_id) ? view.run : null;
}

// The text of a message's content, to be copied: what the server reads as that, and strings that stand for a part.
export function textOf(content) {
  if (typeof content === "string") return content;
  if (!Array.isArray(content)) return JSON.stringify(content, null, 2) ?? "";
  return content.map((part) => (typeof part === "string" ? part : part?.type === "text" ? part.text : null)).filter((text) => typeof text === "string").join(" ");
}

function attached(view, params) {
  const base = params.events
    ? params.events.reduce((old, event) => apply(old, event.method, event.params), view)
    : { ...view, start: params.start ?? 0, messages: params.messages };
  const run = params.run ? { run_id: params.run.run_id, text: params.run.text, reasoning: params.run.reasoning ?? "" } : null;
  return { ...base, revision: params.revision, log: params.log, run, session: params.session, presence: params.presence ?? null };
}

function spliced(view, { revision, keep, messages, start }) {
  if (revision < view.revision) return view;
  if (start !== undefined && start !== null) return { ...view, revision, start, messages };
  const held = keep - view.start;
  if (held > view.messages.length) throw new Error(`splice keeps ${keep}, but the view ends at ${view.start + view.messages.length}`);
  // Keeping less than what stands before the view leaves a view that begins where the splice does.
  return { ...view, revision, start: Math.min(view.start, keep), messages: [...view.messages.slice(0, Math.max(held, 0)), ...messages] };
}

// The answer and the reasoning before it grow apart from each other, each from its own offset.
function grown(view, { run_id, offset, text }, which) {
  if (view.run?.run_id !== run_id) return view;
  const known = codePoints(view.run[which]) - offset;
  if (known < 0) throw new Error("a piece of the reply is missing");
  const fresh = known === 0 ? text : Array.from(text).slice(known).join("");
  return fresh ? { ...view, run: { ...view.run, [which]: view.run[which] + fresh } } : view;
}

function codePoints(text) {
  let count = text.length;
  for (let i = 0; i + 1 < text.length; i++) {
    if ((text.charCodeAt(i) & 0xfc00) === 0xd800 && (text.charCodeAt(i + 1) & 0xfc00) === 0xdc00) count--;
  }
  return count;
}
