// What one tab must not lose in a reload ("sessionStorage"), and what all tabs share ("localStorage"). Storage may be full or
// forbidden; the page then works without it.

export function recall(key, where = "sessionStorage") {
  try {
    return JSON.parse(window[where].getItem(`backchat.${key}`));
  } catch {
    return null;
  }
}

export function remember(key, value, where = "sessionStorage") {
  try {
    if (value === null || value.length === 0) window[where].removeItem(`backchat.${key}`);
    else window[where].setItem(`backchat.${key}`, JSON.stringify(value));
  } catch {
    // Kept in memory only.
  }
}

// What follows this beginning in the keys that there are, of one tab.
export function recallAll(beginning) {
  const whole = `backchat.${beginning}`;
  try {
    return Object.keys(sessionStorage).filter((key) => key.startsWith(whole)).map((key) => key.slice(whole.length));
  } catch {
    return [];
  }
}
