// The list of sessions as far as it is known. Pure, like transcript.js.
//
// A catalog is {sessions, next, floor}: `sessions` (summaries, last updated first) are all there are down to `floor`, the last of
// the pages that were read ({updated_at, session_id}); `next` is where the following page begins. Both are null where there is no more.

export const emptyCatalog = () => ({ sessions: [], next: null, floor: null });

// What pages say that were read anew, from the first on. `changes` are what was told while they were being read.
export function readAnew(pages, changes = []) {
  const read = pages.reduce(readOn, emptyCatalog());
  return changes.reduce(told, read);
}

// What one more page says.
export function readOn({ sessions }, { sessions: page, next }) {
  const known = new Set(page.map(({ session_id: id }) => id));
  const all = [...sessions.filter(({ session_id: id }) => !known.has(id)), ...page].sort(newestFirst);
  return { sessions: all, next, floor: next === null ? null : page.at(-1) };
}

// Sessions were made, changed, restored or deleted. What belongs below the floor comes with its page.
export function told({ sessions, next, floor }, { sessions: changed, deleted }) {
  const gone = new Set([...deleted, ...changed.map(({ session_id: id }) => id)]);
  const fresh = changed.filter((session) => floor === null || newestFirst(session, floor) <= 0);
  return { sessions: [...sessions.filter(({ session_id: id }) => !gone.has(id)), ...fresh].sort(newestFirst), next, floor };
}

// The order in which the server lists them.
function newestFirst(a, b) {
  if (a.updated_at !== b.updated_at) return b.updated_at - a.updated_at;
  return a.session_id < b.session_id ? 1 : -1;
}
