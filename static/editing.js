// Editing a message in the composer: what of it is edited, and the line that does it. Pure, like transcript.js.

const LINE = /^\/edit ([1-9][0-9]*) ([^]*\S[^]*)$/;

// {id, text, parts}: the text of a message, as the server reads it, and how many parts besides text (images) an edit keeps.
export function editable({ id, content }) {
  if (!Array.isArray(content)) return { id, text: typeof content === "string" ? content : "", parts: 0 };
  const [texts, others] = [content.filter(isText), content.filter((part) => !isText(part))];
  return { id, text: texts.map(({ text }) => (typeof text === "string" ? text : "")).join(" "), parts: others.length };
}

// The number makes all that follows it the text, whatever it begins with.
export const editLine = ({ id, text }) => `/edit ${id} ${text}`;

// What such a line edits, or null.
export function editOf(line) {
  const [, id, text] = LINE.exec(line) ?? [];
  return id === undefined ? null : { id: Number(id), text };
}

// Whether a message is on screen, or may be further up than what the page has of the transcript.
export const stands = (id, { start, messages }) => messages.some((one) => one.id === id) || (start > 0 && id < (messages[0]?.id ?? 0));

const isText = (part) => part?.type === "text";
