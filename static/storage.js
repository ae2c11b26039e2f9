// What one tab must not lose in a reload ("sessionStorage"), and what all tabs share ("localStorage"). Storage may be full or
// forbidden; the page then works without it.

const KEY = "backchat.";

export function recall(key, where = "sessionStorage") {
  try {
    return JSON.parse(window[where].getItem(KEY + key));
  } catch {
    return null;
  }
}

// Whether it could be; otherwise it is kept in memory only.
export function remember(key, value, where = "sessionStorage") {
  try {
    if (value === null || value.length === 0) window[where].removeItem(KEY + key);
    else window[where].setItem(KEY + key, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

// What follows this beginning in the keys that there are, of one tab.
export function recallAll(beginning) {
  const whole = KEY + beginning;
  return keysOf("sessionStorage").filter((key) => key.startsWith(whole)).map((key) => key.slice(whole.length));
}

function keysOf(where) {
  try {
    return Object.keys(window[where]);
  } catch {
    return [];
  }
}

// What was being written in a tab that is closed is there for the next one; a reload finds its own still there. A line that two tabs
// should then have is applied once, as it keeps its op_id; of a draft both have a copy.
const WRITTEN = /^backchat\.(draft|pending)\./;
const LEFT = "left.";

addEventListener("pagehide", ({ persisted }) => {
  if (persisted) return; // it may come back, and goes on then
  for (const key of keysOf("sessionStorage")) {
    if (!WRITTEN.test(key)) continue;
    const name = key.slice(KEY.length);
    remember(LEFT + name, together(recall(LEFT + name, "localStorage"), typed(recall(name))), "localStorage");
  }
});

for (const key of keysOf("localStorage")) {
  if (!key.startsWith(KEY + LEFT)) continue;
  const name = key.slice((KEY + LEFT).length);
  const [own, others] = [recall(name), recall(LEFT + name, "localStorage")];
  if (remember(name, own === null ? others : together(others, own))) remember(LEFT + name, null, "localStorage");
}

// Of lines those of both; of two drafts the second.
function together(before, now) {
  if (!Array.isArray(before) || !Array.isArray(now)) return now;
  return [...before.filter(({ op_id: id }) => !now.some((line) => line.op_id === id)), ...now];
}

// What a button did was meant for the moment.
const typed = (written) => (Array.isArray(written) ? written.filter((line) => line.typed) : written);
