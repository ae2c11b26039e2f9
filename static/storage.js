// What one tab must not lose in a reload. Storage may be full or forbidden; the page then works without it.

export function recall(key) {
  try {
    return JSON.parse(sessionStorage.getItem(`backchat.${key}`));
  } catch {
    return null;
  }
}

export function remember(key, value) {
  try {
    if (value === null || value.length === 0) sessionStorage.removeItem(`backchat.${key}`);
    else sessionStorage.setItem(`backchat.${key}`, JSON.stringify(value));
  } catch {
    // Kept in memory only.
  }
}
