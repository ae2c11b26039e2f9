// The list of sessions as far as it is known, and what a search of it found. Pure, like transcript.js.
//
// A catalog is {sessions, next, floor, known, found}: `sessions` (summaries, last updated first) are all there are down to `floor`,
// the last of the pages that were read ({updated_at, session_id}); `next` is where the following page begins. Both are null where
// there is no more. `known` once the server has said anything. `found` is null, or {query, sessions}: summaries, each with its `match`.

export const emptyCatalog = () => ({ sessions: [], next: null, floor: null, known: false, found: null });

// What pages say that were read anew, from the first on. `changes` are what was told while they were being read.
export function readAnew(catalog, pages, changes = []) {
  return changes.reduce(told, pages.reduce(readOn, { ...emptyCatalog(), found: catalog.found }));
}

// What one more page says.
export function readOn(catalog, { sessions: page, next }) {
  const sessions = [...without(catalog.sessions, page), ...page].sort(newestFirst);
  return { ...catalog, sessions, next, floor: next === null ? null : page.at(-1), known: true };
}

// Sessions were made, changed, restored or deleted. What belongs below the floor comes with its page.
export function told(catalog, { sessions: changed, deleted }) {
  const { floor, found } = catalog;
  const fresh = changed.filter((session) => floor === null || newestFirst(session, floor) <= 0);
  const left = catalog.sessions.filter(({ session_id: id }) => !deleted.includes(id));
  return {
    ...catalog,
    sessions: [...without(left, changed), ...fresh].sort(newestFirst),
    // What was found stays in its place, and shows what it is called now.
    found: found && {
      ...found,
      sessions: found.sessions.filter(({ session_id: id }) => !deleted.includes(id))
        .map((hit) => ({ ...hit, ...changed.find(({ session_id: id }) => id === hit.session_id) })),
    },
  };
}

// A search began (`sessions` is null until its answer is here), or ended (`query` is empty).
export function searched(catalog, query, sessions = null) {
  return { ...catalog, found: query ? { query, sessions: sessions ?? catalog.found?.sessions ?? null } : null };
}

// The open session as the page that has it open knows it, which is sooner than the list does: {sessions, apart}. It stands wherever
// it belongs, or apart where the list has not been read so far: what is between is not known.
export function withOpen({ sessions, floor }, open) {
  if (!open) return { sessions, apart: null };
  const listed = sessions.find(({ session_id: id }) => id === open.session_id);
  const session = { ...listed, ...open };
  if (!listed && floor !== null && newestFirst(session, floor) > 0) return { sessions, apart: session };
  return { sessions: [...without(sessions, [open]), session].sort(newestFirst), apart: null };
}

// The session to show once this one is gone: the next in the list, or the one before; null where there is none.
export function neighbour(sessions, id) {
  const at = sessions.findIndex((session) => session.session_id === id);
  return (sessions[at + 1] ?? sessions[at - 1])?.session_id ?? null;
}

const without = (sessions, others) => {
  const ids = new Set(others.map(({ session_id: id }) => id));
  return sessions.filter(({ session_id: id }) => !ids.has(id));
};

// The order in which the server lists them.
function newestFirst(a, b) {
  if (a.updated_at !== b.updated_at) return b.updated_at - a.updated_at;
  if (a.session_id === b.session_id) return 0;
  return a.session_id < b.session_id ? 1 : -1;
}
