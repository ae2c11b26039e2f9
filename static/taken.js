// What was taken off the transcript and can be brought back, as far as this page saw it happen. Pure, like transcript.js.

const TAKE_OFF = new Set(["undo", "retry", "edit", "drop", "clear"]);

// `line` has an entry for each step that /redo could go back, the next one last: {command, count}, or null where the page was not
// there; `now` is what a splice has just taken off, until the server says that it is a step.
export const nothingTaken = () => ({ line: [], now: null });

// The next of these, after a notification; `count` is how long the transcript was before it.
export function taken(before, count, { method, params }) {
  switch (method) {
    case "attached": return params.events ? stepped(before, params.session) : stepped(nothingTaken(), params.session);
    case "transcript.spliced": return { ...before, now: cameOff(count, params) };
    case "session.updated": return stepped(before, params.session);
    default: return before;
  }
}

function cameOff(count, { keep, start, messages, cause }) {
  // What follows a dropped turn is copied, and comes on again.
  const left = cause.command === "drop" ? (start ?? keep) + messages.length : keep;
  return TAKE_OFF.has(cause.command) && count > left ? { command: cause.command, count: count - left } : null;
}

function stepped({ line, now }, { redo_steps: steps }) {
  if (steps === undefined || steps === line.length) return { line, now: null };
  if (steps < line.length) return { line: line.slice(0, steps), now: null };
  return { line: [...line, ...Array(steps - line.length - 1).fill(null), now], now: null };
}
