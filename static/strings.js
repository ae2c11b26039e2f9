// All that the page itself says, in English: a translation is another file with these names. What the server says comes from
// the server. Pure, like transcript.js.

const figure = (number) => number.toLocaleString("en");
const count = (number, one, many = `${one}s`) => `${figure(number)} ${number === 1 ? one : many}`;

// --- the composer, its palette, the queue and the notices

export const composer = {
  message: "Message",
  invite: "Message, or / for commands",
  inviteNext: "Write the next message",
  send: "Send",
  stop: "Stop",

  commands: "Commands",
  values: (usage, argument) => `${usage}: ${argument}`,
  now: (what) => `Now: ${what}`,
  groups: {
    recent: "Recently used",
    take_back: "Take back",
    session: "Session",
    model: "Model",
    queue: "Reply and queue",
    look: "Look",
    names: "Commands",
    mentioned: "Found in what they do",
  },
  types: {
    count: "a whole number from 1",
    word: "one word",
    text: "the rest of the line",
    message: "the number of a message",
    place: "the number of a message, or @ and that of a revision",
  },

  editing: (id) => `Editing #${id}`,
  editingHeard: (id) => `Editing message ${id}. Escape cancels.`,
  escapeCancels: "Escape cancels",
  partsStay: (count) => (count === 1 ? "what else it has stays" : `its ${count} other parts stay`),
  cancelEdit: "Cancel the edit",
  editCancelled: "The edit is cancelled.",
  editGone: (id) => `Not done: message #${id} is not on screen any more; it was taken off in the meantime. Your text is kept here.`,
  sendAsNew: "Send as a new message",

  dismiss: "Dismiss",
  command: (name) => `/${name}`,
  sendAsMessage: "Send as a message",
  notSeen: "Not done: the session was not on screen yet. Your line is back below.",
  changedSince: (back) => `Not done: this session has changed since, in another tab or by a line still on its way.${back ? " Your line is back below." : ""}`,

  waiting: "Waiting",
  untilEnd: "for the end of this reply",
  paused: "Paused: these wait until you send them on. A new message goes before them.",
  goOn: "Go on",
  sendNow: "Send now",
  takeOut: "Take out",
  takeOutOf: (text) => `Take out: ${text}`,
  takeOutHint: "Take it out, back into the composer",
  noText: "(no text)",
};

// --- the transcript and its messages

const counted = (messages) => count(messages, "message");

export const transcript = {
  name: "Transcript",
  earlier: "Show earlier messages",
  latest: "Jump to latest",
  nothingYet: "Nothing here yet",
  invitation: "Write a message, or type / for commands. Whatever you say here can be taken back.",
  branchedFrom: "Branched from ",
  branchedAt: (id) => ` at #${id}`,

  // Who says it, by role, and what is folded.
  who: { user: "You", assistant: "Assistant", system: "System message", tool: "Tool result" },
  writing: "Assistant, writing",
  waiting: "Waiting for the first word…",
  thinking: "Thinking…",
  reasoning: "Reasoning",
  called: "Called",
  attachment: "Attachment",
  image: "Image in the message",
  imageElsewhere: "Image:",
  imageLeftBehind: (name) => (name ? `The image “${name}” did not come along with the import.` : "An image that did not come along with the import."),
  recordingLeftBehind: "A recording that did not come along with the import.",
  table: "Table",
  finish: { stopped: "Stopped", interrupted: "Interrupted" },
  failed: "The reply failed.",
  failedHere: "The reply failed here.",

  took: { input: "in", output: "out", cached: "cached", reasoning: "reasoning", about: "about" },

  // Variants of a message.
  variant: (index, count) => `Variant ${index} of ${count}`,
  previousVariant: "Previous variant",
  nextVariant: "Next variant",
  variantOf: (name, index, count) => `${name} (${index} of ${count})`,

  // What can be done with a message.
  actions: (id) => `Actions for message ${id}`,
  copy: "Copy",
  copyCode: "Copy code",
  copied: "Copied",
  notCopied: "The browser did not let it be copied.",
  edit: "Edit",
  retry: "Ask again",
  branch: "Branch from here",

  // What came off, and the way back: `command` is the one that took it.
  tookOff: (command, count) => (command === "undo" ? `Undo did ${counted(count)}` : `${TOOK_OFF[command]} took off ${counted(count)}`),
  redo: "Redo",
  redoes: (steps, running) => `Bring back what was last taken off${steps > 1 ? ` (the last of ${figure(steps)} steps)` : ""}${running ? "; this stops the reply" : ""}`,
};

const TOOK_OFF = { retry: "Retry", edit: "Edit", drop: "Drop", clear: "Clear" };

// --- the list of sessions

export const sessions = {
  list: "Sessions",
  new: "New session",
  titled: (title) => title || "Untitled session",
  unknown: "another session",
  more: "Show more sessions",
  none: "No sessions yet. The first line you write begins one.",
  days: { today: "Today", yesterday: "Yesterday", week: "Previous 7 days", month: "Previous 30 days", found: "Found", open: "Open" },
  month: (day) => day.toLocaleDateString("en", { month: "long", year: "numeric" }),
  facts: (when, messages) => `${when} · ${count(messages, "message")}`,
  messages: (messages) => count(messages, "message"),
  replying: "Replying…",

  search: "Search sessions",
  found: (sessions) => (sessions ? `${count(sessions, "session")} found` : "Nothing found"),
  foundMost: (sessions) => `The first ${count(sessions, "session")} found`,
  nothingFound: (query) => `Nothing has “${query}” in it.`,
  showByHand: (message) => `/pick ${message} shows the message that was found.`,

  actions: (title) => `Actions for session: ${title}`,
  actionsHere: "Actions for this session",
  rename: "Rename",
  titleField: "Title of the session",
  untitled: "Untitled session",
  exportMarkdown: "Export as Markdown",
  exportJson: "Export as JSON",
  delete: "Delete",
  deleted: (title) => `Deleted “${title}”.`,
  undo: "Undo",
  bringBack: "Bring it back",
  nothingToShow: "Nothing to show",
  openAnother: "Open another session, or start a new one.",
  welcome: "Say something",
  welcomeWhat: "Backchat keeps your sessions with language models, and whatever you say can be taken back. Write a message, type /help for the commands, or drop a file here to import what you have elsewhere.",

  import: "Import…",
  importTitle: "Import sessions from files; they can also be dropped on the page",
  importing: "Import",
  drop: "Drop to import",
  dropWhat: "Exports of Backchat, ChatGPT and Open WebUI, and session files",
  folder: "is a folder: drop the files in it.",
  archive: "is an archive: unpack it, and choose the .json files in it (conversations.json of ChatGPT).",
  tooLargeToImport: "is too large to be sent from a page. On the server, `backchat import` takes files of any size.",
  progress: (number, all, name) => `Importing ${all > 1 ? `${number} of ${all}: ` : ""}${name}…`,
  outcome: (imported, skipped, failed) => `${[
    imported > 0 || skipped + failed === 0 ? `Imported ${count(imported, "session")}` : "Nothing imported",
    skipped > 0 && `${figure(skipped)} skipped`, failed > 0 && `${figure(failed)} failed`,
  ].filter(Boolean).join(", ")}.`,
  skipped: "Skipped",
  failed: "Failed",
  dismiss: "Dismiss",
};

// --- the connection, who is here, and the sign-in

const UNITS = [["day", 86_400_000], ["hour", 3_600_000], ["minute", 60_000]];

function ago(milliseconds) {
  const [unit, length] = UNITS.find(([, one]) => milliseconds >= one) ?? ["minute", 60_000];
  return `${count(Math.floor(milliseconds / length), unit)} ago`;
}

export const connection = {
  notConnectedNow: "Not connected.",
  connectionLost: "The connection was lost.",
  states: { connecting: "Connecting…", open: "Connected", reconnecting: "Reconnecting…", offline: "Offline", closed: "Not connected" },
  heard: { connecting: "", open: "Connected again.", reconnecting: "The connection is lost.", offline: "Offline.", closed: "Not connected." },
  retryIn: (seconds) => `Reconnecting in ${seconds} s`,
  tryNow: "Try now",
  unsent: (lines) => (lines === 1 ? "1 line waits to be sent" : `${figure(lines)} lines wait to be sent`),
  unreachable: "The server cannot be reached.",
  answered: (status) => `The server answered ${status}.`,
  gone: {
    4400: "The server does not understand this page. Reload it.",
    4404: "There is no session at this address.",
    4410: "This session was deleted.",
  },
  closed: "The server closed this session.",
  notLoaded: "Not here yet",
  notLoadedWhat: "This session is shown as soon as the server can be reached.",

  unsentLines: "Not sent yet",
  sending: "Sending…",
  waits: "That was much at once; this goes out in a moment",
  notSent: "Not sent yet",
  unconfirmed: "Not confirmed yet; it may have arrived",
  held: (milliseconds) => `Written ${ago(milliseconds)} and not sent since. Is it still meant?`,
  sendAnyway: "Send",
  takeBack: "Take back",
  replyPaused: "Not connected: the reply shows on once the page is connected again.",
  tooLong: "This is too long to send.",

  here: (people) => `${figure(people)} here`,
  you: (name) => `${name} (you)`,
  others: (people) => `and ${figure(people)} more`,
  people: "Who is here",
  alone: "Only you, in this tab.",
  yourName: "Your name",
  nameHint: "What others see beside what you do; kept in this browser.",
  saveName: "Save",
  close: "Close",
  nameEmpty: "A name takes at least one character.",
  changeName: "Your name…",

  signIn: "Sign in",
  signInWhy: "This server asks for its access token. Whoever started it has it.",
  token: "Access token",
  notTheToken: "That is not the token.",
  usedInvitation: "The link has been used, or is from before the server was started again.",
};

// --- everything around them

export const language = "en";
export const direction = "ltr";

export const frame = {
  backend: {
    echo: "No model is connected: replies only repeat what you say.",
    none: "No model is connected: messages are kept, and nothing replies.",
  },

  openDrawer: "Open the session list",
  closeDrawer: "Close the session list",

  readAnew: "What is shown was read anew from the server; it may differ from what you saw.",
  replyFailed: "The reply failed.",

  // What a button could not do.
  notConnected: (undone) => `Not connected: ${undone}`,
  notStopped: "the reply cannot be stopped now.",
  notTakenOut: "the message cannot be taken out now.",
  notSent: "nothing can be sent now.",
  notChosen: "nothing can be chosen now.",
  notAsked: "nothing can be asked again now.",
  notBranched: "nothing can be branched now.",
  notSwitched: "another variant cannot be shown now.",
  notBroughtBack: "nothing can be brought back now.",

  // What others did. Their names have a direction of their own.
  somebody: (name) => (name ? `\u2068${name}\u2069` : "Somebody"),
  youElsewhere: "You, in another tab,",
  whoDid: (who, command, off) => `${who} ${frame.did[command]?.(off) ?? `used /${command}`}.`,
  did: {
    retry: () => "asked again",
    undo: (off) => `undid ${off === 1 ? "1 message" : `${figure(off)} messages`}`,
    redo: () => "brought back what had been taken off",
    edit: () => "edited a message",
    prev: () => "switched to another variant",
    next: () => "switched to another variant",
    pick: () => "switched to another variant",
    goto: () => "went to another place",
    drop: () => "took an earlier turn out",
    clear: () => "took everything off",
    stop: () => "stopped the reply",
    branch: () => "branched this session into a new one",
    model: () => "chose who replies next",
    personality: () => "chose another personality",
    system: () => "changed the system prompt",
  },
  showBefore: "Show what was there before",
  heldIn: (title) => `What you wrote in “${title}” a while ago was not sent. Is it still meant?`,
  openIt: "Open it",
  notDoneIn: (title, why) => `Not done in “${title}”: ${why} Your line is back there.`,

  model: { name: "Model", none: "Server’s choice", placeholder: "Find a model", other: (name) => `Use “${name}”` },
  personality: { name: "Personality", none: "No personality", placeholder: "Find a personality" },
  serversChoice: "server’s choice",
  chosen: "chosen",
  choiceLater: "The reply that is being written stays as it is; a choice counts from the next one on.",
  nothingToChoose: "Not connected: nothing can be chosen now.",
  nothingFits: "There is nothing that fits.",
  typeForMore: "There are more. Type to find them.",

  spent: "Tokens and cost",
  tokens: (count, figure) => `${figure} ${count === 1 ? "token" : "tokens"}`,
  about: (figure) => `about ${figure}`,
  andMore: (sum) => `${sum} and more`,
  costUnknown: "cost unknown",
  unpriced: (count) => ` (the price of ${count === 1 ? "one reply" : `${count} replies`} is unknown)`,
  input: "Input",
  output: "Output",
  cached: (figure) => `${figure} cached`,
  reasoning: (figure) => `${figure} reasoning`,
  cost: "Cost",
  onScreen: "On screen",
  nothing: "nothing",
  next: "The next turn sends",
  nextTokens: (figure) => `about ${figure} tokens and what you write`,
};
