// All that the page itself says, in English: a translation is another file with these names. What the server says comes from
// the server. Pure, like transcript.js.

// --- the composer, its palette, the queue and the notices

export const composer = {};

// --- the transcript and its messages

export const transcript = {};

// --- the list of sessions

export const sessions = {};

// --- the connection, who is here, and the sign-in

export const connection = {
  states: { connecting: "Connecting…", open: "Connected", reconnecting: "Reconnecting…", closed: "Not connected" },
};

// --- everything around them

export const frame = {};
