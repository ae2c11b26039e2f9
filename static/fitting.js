// Which commands are listed for what is typed of a name, in which groups and in which order. Pure, like transcript.js.

const LATELY = 4; // how many commands used lately are listed first
const INSIDE = 2; // fewer letters are inside almost every name
const MENTIONED = 3; // and begin almost every summary's words

// [{group, commands}]: none of them empty, each command listed once. `typed` is in lower case; `recent` are names, the last used
// first. With nothing typed the groups are those of the table ("recent" before them), else "recent", "names" and "mentioned".
export function listed(commands, typed, recent = []) {
  const lately = recent.map((name) => commands.find((one) => one.name === name)).filter((one) => one?.name.startsWith(typed));
  const first = lately.slice(0, LATELY);
  const others = commands.filter((one) => !first.includes(one));
  const groups = typed ? byFit(others, typed) : byGroup(others);
  return [{ group: "recent", commands: first }, ...groups].filter(({ commands: some }) => some.length > 0);
}

// The names used lately, once this one is.
export const used = (recent, name) => [name, ...recent.filter((one) => one !== name)].slice(0, 2 * LATELY);

function byGroup(commands) {
  const groups = new Map();
  for (const command of commands) groups.set(command.group, [...(groups.get(command.group) ?? []), command]);
  return [...groups].map(([group, some]) => ({ group, commands: some }));
}

function byFit(commands, typed) {
  const begins = commands.filter(({ name }) => name.startsWith(typed)).sort((a, b) => (b.name === typed) - (a.name === typed));
  const inside = commands.filter(({ name }) => typed.length >= INSIDE && name.indexOf(typed) > 0);
  const names = [...begins, ...inside];
  const mentions = ({ summary }) => summary.toLowerCase().split(/[^\p{L}\p{N}]+/u).some((word) => word.startsWith(typed));
  const mentioned = commands.filter((one) => typed.length >= MENTIONED && !names.includes(one) && mentions(one));
  return [{ group: "names", commands: names }, { group: "mentioned", commands: mentioned }];
}
