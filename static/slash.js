// How a typed line reads as a command, as far as the page must know; what it does, only the server knows. Pure, like transcript.js.
// `commands` is the table as the server tells it.

const LINE = /^[ \t\r\n]*\/([a-z][a-z0-9_-]*)(?:([ \t\r\n])[ \t\r\n]*([^]*))?$/i;
const BEGINNING = /^[ \t\r\n]*\/([a-z][a-z0-9_-]*)?$/i;
const WHITE_BEGINNING = /^[ \t\r\n]*/;
const WHITE_END = /[ \t\r\n]+$/;

function read(text, commands) {
  const [, typed, gap, rest] = LINE.exec(text) ?? [];
  const name = typed?.toLowerCase();
  const command = commands.find((one) => one.name === name);
  // After a line break only free text goes on. Without such a command the server still takes the line for one: for a mistyped one.
  const broken = command && command.arguments.at(-1)?.type !== "text" && /[\r\n]/.test(gap);
  return name && !broken ? { name, command, rest } : {};
}

// The name of the command that a line is, known or not; null for a message.
export const commandName = (text, commands) => read(text.replace(WHITE_END, ""), commands).name ?? null;

// Whether a line means the transcript that is on screen. Before the table is known any command may.
export function changesTranscript(text, commands) {
  const name = commandName(text, commands);
  return name !== null && (commands.length === 0 || commands.some((one) => one.name === name && one.changes_transcript));
}

// The line that sends this text as a message, whatever it looks like.
export const asMessage = (text, commands) => (commandName(text, commands) === null ? text : text.replace(WHITE_BEGINNING, "/"));

// As much of a command's name as is typed, if nothing else is; null where no name is being typed.
export function nameTyped(text) {
  const found = BEGINNING.exec(text);
  return found && (found[1] ?? "").toLowerCase();
}

// {command, index, argument}: whose argument, and which, the end of the line is; null where there is none.
export function argumentTyped(text, commands) {
  const { command, rest } = read(text, commands);
  if (!command || rest === undefined) return null;
  const free = command.arguments.findIndex(({ type }) => type === "text"); // takes all the rest of the line
  const word = rest.split(/[ \t\r\n]+/).length - 1;
  const index = free < 0 ? word : Math.min(word, free);
  return index < command.arguments.length ? { command, index, argument: command.arguments[index] } : null;
}
