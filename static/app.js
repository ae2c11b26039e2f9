// The only wiring: children say what happened, here it is decided what follows.
import * as api from "./api.js";
import { neighbour, withOpen } from "./catalog.js";
import "./composer.js";
import "./connection-state.js";
import { hide, messageIn } from "./dom.js";
import { closeDrawer, openDrawer } from "./drawer.js";
import { editable, editLine, editOf, stands } from "./editing.js";
import "./file-import.js";
import { Importing } from "./importing.js";
import { Listing } from "./listing.js";
import "./notices.js";
import "./presence.js";
import "./queue.js";
import "./session-footer.js";
import "./session-heading.js";
import "./session-list.js";
import "./sign-in.js";
import { asMessage, changesTranscript, commandName } from "./slash.js";
import { SessionSocket, unsentIn } from "./socket.js";
import { recall } from "./storage.js";
import { composer as words, connection as connected, direction, frame, language, sessions as strings } from "./strings.js";
import { nothingTaken, taken } from "./taken.js";
import { apply, emptyView, prepend } from "./transcript.js";
import "./transcript-view.js";
import { Watch } from "./watch.js";

const find = (selector) => document.querySelector(selector);
const [list, transcript, composer, queue, footer, notices, signIn] =
  ["session-list", "transcript-view", "message-composer", "message-queue", "session-footer", "notice-board", "sign-in"].map(find);
const [connection, heading, presence, people, files] = ["connection-state", "session-heading", "who-is-here", "people-panel", "file-import"].map(find);
const ask = (request) => signIn.signedIn(request);
const watch = new Watch(() => signIn.ask());
const listing = new Listing(ask, watch);
const importing = new Importing(ask);

let current = nothingOpen();
const left = new Map(); // sessions that were open before, by id, with lines that are still to be sent
let creating = null;
let backend = null; // which kind of it the server has; null: not known yet

function nothingOpen() {
  // `mine` are the connections that this tab has had to it, `name` what all tabs of this browser go by; `wanted` is the message that
  // it was opened for.
  return {
    id: null, view: emptyView(), taken: nothingTaken(), socket: null, mine: [], name: null, gone: null, loading: null, wanted: null,
    leaving: false,
  };
}

// --- which session is open

function route() {
  const id = /^\/s\/([^/]+)$/.exec(location.pathname)?.[1] ?? null; // whether there is such a session, the server knows
  const message = messageIn(location.hash);
  if (id !== null && id === current.id && !current.gone) return show(message);
  open(id, { message });
  if (id === null) refresh().then(openFirst);
}

function openFirst() {
  if (current.id !== null || location.pathname !== "/" || composer.text.trim() || creating || !listing.sessions.length) return;
  const [{ session_id: id }] = listing.sessions;
  history.replaceState(null, "", `/s/${id}`);
  open(id);
}

function go(id, message = null) {
  closeDrawer(); // first: it gives the focus back
  if (id !== current.id || message !== null) history.pushState(null, "", message === null ? `/s/${id}` : `/s/${id}#${message}`);
  if (id !== current.id || current.gone) open(id, { message });
  else show(message);
}

function open(id, { carryDraft = false, message = null } = {}) {
  leave(current);
  left.get(id)?.socket.close();
  left.delete(id);
  current = { ...nothingOpen(), id, wanted: message };
  notices.clear();
  transcript.reset();
  composer.open(id, carryDraft);
  if (matchMedia("(hover: hover)").matches) composer.focus(); // on a phone it would bring up the keyboard
  if (id === null) draw();
  else {
    drawQueue();
    attach(current);
  }
  drawConnection();
  drawFrame();
}

// What one has written there is sent whatever is on screen.
function leave(here) {
  if (here.socket && waits(here)) left.set(here.id, here);
  else here.socket?.close();
}

const waits = ({ socket }) => socket.state !== "closed" && socket.pending.some(({ typed, held }) => typed && !held);

function attach(here) {
  here.socket = new SessionSocket(here.id, () => here.view);
  const on = (type, react) => here.socket.addEventListener(type, ({ detail }) => (here === current ? react(here, detail) : elsewhere(here, type, detail)));
  on("notification", notified);
  on("state", connectionChanged);
  on("settled", settled);
  on("pending", (one) => { drawPending(one); drawConnection(); });
  on("name-refused", (_, { message }) => people.refused(message));
  drawPending(here);
}

// Of a session that one has left only what would be lost is of interest.
function elsewhere(here, type, detail) {
  const { submit, result, error } = detail ?? {};
  if (type === "settled" && error && submit.typed) {
    composer.keepFor(here.id, submit.text);
    notices.error(frame.notDoneIn(titleOf(here.id), error.message));
  } else if (type === "settled" && result?.command === "queue" && result.prefill) {
    composer.keepFor(here.id, asMessage(result.prefill, composer.commands));
  }
  if (type === "state" && detail.state === "closed") over(here, detail.code);
  if (left.get(here.id) === here && !waits(here)) {
    left.delete(here.id);
    here.socket.close();
    if (here.socket.pending.some(({ held }) => held)) notices.notice(frame.heldIn(titleOf(here.id)), [{ label: frame.openIt, act: () => go(here.id) }]);
  }
  drawConnection();
}

function over(here, code) {
  if (code === 4401) return void signIn.ask().then(sendElsewhere);
  const unsent = here.socket.abandon().filter(({ typed }) => typed);
  if (unsent.length === 0) return;
  composer.keepFor(here.id, unsent.map(({ text }) => text).join("\n"));
  notices.error(frame.notDoneIn(titleOf(here.id), connected.gone[code] ?? connected.closed));
}

// What was written in sessions that are not on screen, before a reload or in another tab.
function sendElsewhere() {
  for (const id of unsentIn()) {
    if (id === current.id || left.has(id)) continue;
    const here = { ...nothingOpen(), id };
    attach(here);
    leave(here);
  }
}

const titleOf = (id) => strings.titled(known(id)?.title);

// --- what the server says

function notified(here, { method, params }) {
  if (method === "attached") transcript.arrives();
  const { revision, start, messages } = here.view;
  let seen = { revision, count: start + messages.length };
  try {
    here.view = apply(here.view, method, params);
  } catch {
    return here.socket.restart();
  }
  if (method === "attached") {
    composer.commands = params.commands;
    backend = params.backend;
    here.mine.push(params.connection);
    here.name = params.name;
  }
  const events = method === "attached" ? params.events ?? [] : [{ method, params }];
  for (const event of events) {
    tellWhoDid(here, event, seen);
    here.taken = taken(here.taken, seen.count, event);
    seen = afterwards(seen, event);
  }
  if (method === "attached") here.taken = taken(here.taken, seen.count, { method, params });
  if (params.reset) {
    notices.clear();
    notices.notice(frame.readAnew);
  }
  if (method === "presence") drawPresence();
  if (method === "run.ended" && params.reason === "failed" && !tells(here.view, params.run_id)) {
    notices.error(params.error?.message ?? frame.replyFailed);
  }
  draw();
  if (method !== "run.delta" && method !== "run.reasoning") drawFrame();
}

// A transcript that changes by itself is startling; `seen` is the revision that showed it before, and how long it was then.
// Messages are there to be seen.
function tellWhoDid({ mine, name }, { method, params: { cause, keep } }, seen) {
  if (!cause?.command || !cause.connection || mine.includes(cause.connection)) return;
  const spliced = method === "transcript.spliced";
  if (!spliced && !["branch", "model", "personality", "system"].includes(cause.command)) return;
  const off = spliced ? Math.max(0, seen.count - keep) : 0;
  const who = cause.name === name ? frame.youElsewhere : frame.somebody(cause.name);
  const before = { label: frame.showBefore, act: () => press(`/goto @${seen.revision}`, frame.notBroughtBack) };
  notices.notice(frame.whoDid(who, cause.command, off), off > 0 ? [before] : []);
}

function afterwards({ revision, count }, { method, params }) {
  if (method === "transcript.spliced") count = (params.start ?? params.keep) + params.messages.length;
  return { revision: params.revision ?? revision, count };
}

// Whether a message of the transcript says itself how its run ended.
const tells = (view, run) => view.messages.some((message) => message.run_id === run && message.note);

function connectionChanged(here, { state, code }) {
  drawConnection();
  drawPending(here);
  if (state === "open") {
    transcript.connected(here.view);
    people.taken();
    show(here.wanted); // older pages can be asked for from now on
  } else transcript.disconnected();
  if (state === "reconnecting" && here.view.log === null) transcript.say(connected.notLoaded, connected.notLoadedWhat);
  if (state !== "closed") return;
  if (code === 4401) {
    signIn.ask().then(() => current === here && open(here.id));
    return;
  }
  here.gone = connected.gone[code] ?? connected.closed;
  const unsent = here.socket.abandon().filter(({ typed }) => typed);
  if (unsent.length) composer.giveBack(unsent.map(({ text }) => text).join("\n"));
  here.view = { ...here.view, run: null };
  draw();
  if (code === 4410) listing.told({ sessions: [], deleted: [here.id] });
  if (!here.leaving) notices.error(here.gone, code === 4410 ? [{ label: strings.bringBack, act: () => restore(here.id) }] : []);
}

// The list has changed. What was gone is there again when somebody has brought it back.
function listed({ seen }) {
  if (current.gone && seen.includes(current.id)) open(current.id);
  if (current.id === null) draw();
  drawFrame();
}

function settled(here, { submit, result, error }) {
  if (error) return refused(submit, error);
  if (result.command === "new" || result.command === "branch") return go(result.data.session_id);
  // What came off is told where it was; what a button in the queue or beside a message does is seen there, but not that it
  // stopped a reply.
  const told = here.taken.line.at(-1)?.command === result.command || (!submit.typed && !result.data.stopped && ["queue", "pick"].includes(result.command));
  if (result.notice && !told) notices.notice(result.notice);
  if (result.prefill) takeBack(result);
}

function takeBack({ command, prefill }) {
  // What undo takes off can be had again; what leaves the queue is nowhere else.
  if (composer.text && command !== "queue") return;
  composer.giveBack(asMessage(prefill, composer.commands)); // sent again, it must stay a message
  composer.focus();
}

function refused({ text, typed, if_revision }, { message, data }) {
  const edit = editOf(text);
  const again = typed && edit && composer.editing === null && stands(edit.id, current.view);
  // Joined to what is typed meanwhile a command would be a message; one without a text of its own is quickly typed again.
  const command = composer.commands.find(({ name }) => name === commandName(text, composer.commands));
  const back = typed && !(composer.text.trim() && command?.arguments.every(({ type }) => type !== "text"));
  if (again) editMessage(edit.id, edit.text);
  else if (back) composer.giveBack(text);
  if (data?.code === "stale_revision") notices.error(if_revision === 0 ? words.notSeen : words.changedSince(back));
  else notices.error(message, data?.code === "unknown_command" && back ? waysOut(data.nearest) : []);
}

// What else a line with an unknown name could be; by then it may have been changed.
function waysOut(nearest) {
  const change = (text) => { composer.text = text; composer.focus(); };
  const names = nearest.map((name) => ({ label: words.command(name), act: () => change(composer.text.replace(/^\s*\/\S*/, `/${name}`)) }));
  return [...names, { label: words.sendAsMessage, act: () => {
    const text = asMessage(composer.text, composer.commands);
    change("");
    submitLine(text);
  } }];
}

// --- what the person does

async function submitLine(text) {
  notices.clear();
  try {
    if (current.gone) throw new Error(current.gone);
    if (current.id === null) await create({ carryDraft: true });
  } catch (error) {
    composer.giveBack(text);
    return notices.error(error.message);
  }
  current.socket.submit(text, { ifRevision: meantFor(text) });
  transcript.toEnd();
}

// What a button does is not kept for later like a typed line: by then another reply may be running.
function press(line, undone) {
  if (current.socket?.state !== "open") return notices.error(frame.notConnected(undone));
  const ifRevision = meantFor(line);
  if (ifRevision !== undefined) {
    // After another line that means the same transcript, as when one presses twice, it could only be refused.
    if (current.socket.pending.some((one) => one.if_revision === ifRevision && !one.held)) return;
    notices.clear();
  }
  current.socket.submit(line, { ifRevision, typed: false });
}

// Changing the transcript means the one that is on screen; whatever else is said is welcome in any case.
const meantFor = (line) => (changesTranscript(line, composer.commands) ? current.view.revision : undefined);

// `text` where some of the editing is done already.
function editMessage(id, text) {
  const message = current.view.messages.find((one) => one.id === id);
  if (message) composer.edit({ ...editable(message), ...(text !== undefined && { text }) });
}

function submitEdit(edit) {
  notices.clear();
  if (current.gone) return notices.error(current.gone);
  if (!stands(edit.id, current.view)) {
    return notices.error(words.editGone(edit.id), [{ label: words.sendAsNew, act: () => { composer.edited(); submitLine(asMessage(edit.text, composer.commands)); } }]);
  }
  composer.edited();
  current.socket.submit(editLine(edit), { ifRevision: current.view.revision });
  transcript.toEnd();
}

// A second line may be submitted while the session for the first is being made.
function create({ carryDraft = false } = {}) {
  creating ??= ask(api.createSession).then((session) => {
    listing.told({ sessions: [session], deleted: [] });
    history.pushState(null, "", `/s/${session.session_id}`);
    closeDrawer();
    open(session.session_id, { carryDraft: carryDraft && current.id === null }); // another session may have been opened since
    current.view = { ...current.view, revision: 1 }; // all that a new session has seen
  }).finally(() => { creating = null; });
  return creating;
}

// One that nothing was said in yet is as good as new.
async function begin() {
  const { view, gone } = current;
  const untouched = !gone && view.log !== null && view.revision === 1 && view.messages.length === 0 && view.session.title === null;
  if (!untouched) return create();
  closeDrawer();
  composer.focus();
}

async function remove(id) {
  const session = known(id);
  const next = neighbour(listing.sessions, id);
  const here = current.id === id ? current : null;
  if (here) here.leaving = true; // the server closes it sooner than it answers
  try {
    await ask(() => api.deleteSession(id));
  } catch (error) {
    if (here) here.leaving = false;
    if (error.status !== 404 && error.status !== 410) return notices.error(error.message);
  }
  listing.told({ sessions: [], deleted: [id] });
  if (here && here === current) {
    history.replaceState(null, "", next === null ? "/" : `/s/${next}`);
    open(next);
  }
  notices.notice(strings.deleted(strings.titled(session?.title)), [{ label: strings.undo, act: () => restore(id, { session, andOpen: here !== null }) }], { lasting: true });
}

// `session` as it was listed, if it was.
async function restore(id, { session, andOpen = false } = {}) {
  try {
    await ask(() => api.restoreSession(id));
    if (session) listing.told({ sessions: [session], deleted: [] });
    searchAgain();
    if (andOpen) go(id);
  } catch (error) {
    notices.error(error.message);
  }
}

async function rename(id, title) {
  try {
    const session = await ask(() => api.renameSession(id, title));
    listing.told({ sessions: [{ ...known(id), ...session }], deleted: [] });
  } catch (error) {
    notices.error(error.message);
  }
}

// A message that one came for, once it can be there.
function show(message) {
  current.wanted = message;
  if (message === null || current.socket?.state !== "open") return;
  const here = current;
  here.wanted = null;
  transcript.show(message).then((shown) => !shown && here === current && notices.notice(strings.showByHand(message)));
}

// An old line that was not sent: back to where it was written.
function takeBackUnsent(id) {
  const line = current.socket.pending.find((one) => one.op_id === id);
  current.socket.withdraw(id);
  composer.giveBack(line.text);
  composer.focus();
}

// The next older page is drawn, or all of them up to a message. Rejected where they cannot be had.
function older(message = null) {
  const here = current;
  if (here.view.start === 0) return Promise.resolve();
  here.loading ??= before(here, message).then((page) => {
    here.view = prepend(here.view, page);
    if (here === current) draw();
  }).catch((error) => { if (here === current) throw error; }).finally(() => { here.loading = null; });
  return here.loading;
}

// As one page, so that it is drawn once.
async function before(here, message) {
  let { start } = here.view;
  const pages = [];
  do {
    const page = await here.socket.request("messages", { before: start, limit: 200 });
    pages.unshift(page.messages);
    start = page.start;
  } while (message !== null && start > 0 && pages[0][0].id > message); // a message is younger than those before it
  return { messages: pages.flat(), start };
}

// --- the list

async function refresh(read = () => listing.read()) {
  try {
    await read();
  } catch (error) {
    if (current.id === null) notices.error(error.message); // with a session open, the connection state says it already
  }
}

const search = (query) => listing.search(query).catch((error) => notices.error(error.message));

// What was found may be something else by now, or could not be asked for.
function searchAgain() {
  if (listing.catalog.found) search(listing.catalog.found.query);
}

// --- drawing

function draw() {
  transcript.draw(current.view, current.taken);
  if (current.gone && !current.view.messages.length) transcript.say(strings.nothingToShow, strings.openAnother);
  // Somebody who is here for the first time.
  else if (current.id === null && listing.catalog.known && !listing.sessions.length) transcript.say(strings.welcome, strings.welcomeWhat);
  drawQueue();
}

function drawQueue() {
  const running = current.view.run !== null;
  const { queue: waiting = [], queue_paused: paused = false } = current.gone ? {} : current.view.session;
  composer.running = running;
  queue.draw({ queue: waiting, paused, running });
}

// Everything around the transcript.
function drawFrame() {
  const { id, view } = current;
  const attached = view.log !== null && !current.gone;
  const count = view.start + view.messages.length;
  const { catalog } = listing;
  const open = attached && { ...view.session, session_id: id, message_count: count, agent_running: view.run !== null };
  list.draw({ ...withOpen(catalog, open), current: id, more: catalog.next !== null, found: catalog.found, known: catalog.known });
  const session = view.log ? { ...view.session, message_count: count } : known(id);
  const title = id === null ? strings.new : session ? strings.titled(session.title) : "Backchat";
  heading.draw({ title, facts: session ? [session.model, strings.messages(session.message_count)] : [], session: attached ? { ...session, session_id: id } : null });
  const { branched_from: branchedFrom } = view.session;
  const origin = known(branchedFrom?.session_id);
  transcript.drawOrigin(branchedFrom, origin ? strings.titled(origin.title) : strings.unknown);
  document.title = title === "Backchat" ? title : `${title} – Backchat`;
  find("#backend").textContent = frame.backend[backend] ?? "";
  const models = backend !== null && !(backend in frame.backend) && !current.gone;
  footer.draw({ session: view.log && !current.gone ? view.session : null, models, running: view.run !== null });
}

const known = (id) => listing.sessions.find((session) => session.session_id === id);

// With no session open there is only the list's to speak of, and only while it is lost.
function drawConnection() {
  const { state, retryAt } = current.socket ?? watch;
  hide(connection, !current.socket && state !== "reconnecting", () => composer.focus());
  connection.draw({ state, retryAt, unsent: [current, ...left.values()].flatMap(({ socket: one }) => one?.pending ?? []).filter(({ typed }) => typed).length });
  drawPresence();
}

// Nobody knows who is there while one is not there oneself.
function drawPresence() {
  const present = (current.socket?.state === "open" && current.view.presence) || { count: 0, present: [] };
  for (const panel of [presence, people]) panel.draw(present, current.mine);
}

function drawPending(here) {
  if (here !== current) return;
  const { pending, state } = here.socket;
  transcript.drawPending({ lines: pending.filter(({ typed }) => typed), connected: state === "open", running: here.view.run !== null });
}

// --- wires

const on = (target, type, react) => target.addEventListener(type, (event) => react(event.detail));
on(composer, "submit-line", ({ text }) => submitLine(text));
on(composer, "edit-last", () => editMessage(current.view.messages.findLast(({ role }) => role === "user")?.id));
on(composer, "submit-edit", submitEdit);
on(composer, "stop", () => press("/stop", frame.notStopped));
on(queue, "take-out", ({ id }) => press(`/queue drop ${id}`, frame.notTakenOut));
on(queue, "go-on", () => press("/queue go", frame.notSent));
on(queue, "leave", () => composer.focus());
composer.complete = footer.complete = (text) => current.socket?.request("complete", { text }) ?? ask(() => api.complete(text));
footer.usage = async () => (await current.socket.request("submit", { text: "/usage" })).data;
on(footer, "choose-value", ({ line }) => (current.id === null ? submitLine(line) : press(line, frame.notChosen)));
on(notices, "leave", () => composer.focus());
transcript.render = (params) => current.socket.request("render", params);
transcript.older = older;
on(transcript, "edit", ({ id }) => editMessage(id));
on(transcript, "retry", () => {
  press("/retry", frame.notAsked);
  transcript.toEnd();
});
on(transcript, "branch", ({ id }) => press(`/branch ${id}`, frame.notBranched));
on(transcript, "trouble", ({ text }) => notices.error(text));
on(transcript, "pick", ({ id, variant }) => press(`/pick ${id} ${variant}`, frame.notSwitched));
on(transcript, "redo", () => {
  press("/redo", frame.notBroughtBack);
  transcript.toEnd();
});
on(transcript, "send-anyway", ({ id }) => current.socket.release(id));
on(transcript, "take-back", ({ id }) => takeBackUnsent(id));
on(transcript, "leave", () => composer.focus());
on(list, "new-session", () => begin().catch((error) => notices.error(error.message)));
on(list, "choose-files", () => files.choose());
on(list, "more-sessions", () => refresh(() => listing.readOn()));
on(list, "search-sessions", ({ query }) => search(query));
for (const place of [list, heading]) {
  on(place, "rename-session", ({ id, title }) => rename(id, title));
  on(place, "delete-session", ({ id }) => remove(id));
}
for (const place of [list, transcript, files]) on(place, "open-session", ({ id, message }) => go(id, message));
on(listing, "change", listed);
on(watch, "watching", () => { refresh(); searchAgain(); });
on(watch, "state", () => current.socket ?? drawConnection());
on(connection, "leave", () => composer.focus());
on(connection, "try-now", () => { current.socket?.connect(); watch.connect(); });
for (const place of [presence, heading]) on(place, "show-people", () => people.open(recall("name", "localStorage")));
on(presence, "leave", () => composer.focus());
on(people, "call-myself", ({ name }) => current.socket?.callMyself(name));
on(files, "import-files", ({ files: chosen, folders }) => importing.add(chosen, folders));
on(files, "leave", () => composer.focus());
on(importing, "change", () => files.draw(importing));
find("#open-menu").setAttribute("aria-label", frame.openDrawer);
find("#close-menu").setAttribute("aria-label", frame.closeDrawer);
Object.assign(document.documentElement, { lang: language, dir: direction });
on(find("#open-menu"), "click", openDrawer);
on(find("#close-menu"), "click", closeDrawer);
on(find("#scrim"), "click", closeDrawer);
addEventListener("keydown", ({ key, isComposing, shiftKey, ctrlKey, altKey, metaKey }) => {
  if (isComposing) return;
  if (key === "Escape") closeDrawer();
  if (key === "F2" && !(shiftKey || ctrlKey || altKey || metaKey || find("dialog[open]"))) heading.rename();
});
addEventListener("popstate", route);

route();
sendElsewhere();
// Needed before a session is open; `attached` says the same again.
ask(api.getCommands).then((known) => {
  composer.commands = known.commands;
  backend = known.backend;
  drawFrame();
}).catch(() => {});
