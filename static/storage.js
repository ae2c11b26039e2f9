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

export function remember(key, value, where = "sessionStorage") {
  try {
    if (value === null || value.length === 0) window[where].removeItem(KEY + key);
    else window[where].setItem(KEY + key, JSON.stringify(value));
  } catch {
    // Kept in memory only.
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

// What was being written in a tab that is closed is there for the next one; a reload finds its own still there. A line that both
// should have is applied once: it keeps its op_id.
const WRITTEN = /^backchat\.(draft|pending)\./;
const LEFT = "left.";

addEventListener("pagehide", () => {
  for (const key of keysOf("sessionStorage")) {
    if (!WRITTEN.test(key)) continue;
    const name = key.slice(KEY.length);
    remember(LEFT + name, together(recall(LEFT + name, "localStorage"), recall(name)), "localStorage");
  }
});

for (const key of keysOf("localStorage")) {
  if (!key.startsWith(KEY + LEFT)) continue;
  const name = key.slice((KEY + LEFT).length);
  remember(name, recall(name) ?? recall(LEFT + name, "localStorage"));
  remember(LEFT + name, null, "localStorage");
}

// Lines of both; of two drafts the later one.
function together(before, now) {
  if (!Array.isArray(before) || !Array.isArray(now)) return now;
  return [...before.filter(({ op_id: id }) => !now.some((line) => line.op_id === id)), ...now];
}
