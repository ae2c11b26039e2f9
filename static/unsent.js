// Submitted lines that the server has not acknowledged. Pure, like transcript.js.
//
// One is {op_id, text, typed, at, if_revision?, sent?, held?, waits?}: `typed` by a person, or a button's; written `at` (milliseconds); `sent`
// once it was on a connection, so that it may have arrived; `held` while the person is asked whether it is still meant; it `waits`
// where the server would not take it yet.

const OLD = 3_600_000; // after an hour one no longer expects a line to be sent by itself

// Once connected: what is still pending, and which of it is to be sent now. What a button did so long ago is dropped.
export function connected(pending, now) {
  const fresh = pending.filter(({ typed, at }) => typed || !isOld(at, now));
  const lines = fresh.map((line) => (line.held || isOld(line.at, now) ? { ...line, held: true } : { ...line, sent: true }));
  return { pending: lines, send: lines.filter(({ held }) => !held) };
}

// The person means it still; `sent` at once, or as soon as there is a connection.
export const released = (pending, opId, now, sent) =>
  pending.map((line) => (line.op_id === opId ? { ...line, at: now, held: false, sent: line.sent || sent } : line));

// Only what surely never left can be taken back without a doubt; what was left lying is the person's to decide on.
export const canTakeBack = ({ sent, held }) => Boolean(held) || !sent;

const isOld = (at, now) => !(now - at < OLD);
