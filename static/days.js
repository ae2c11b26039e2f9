// Sessions by the day of their last change. Pure, like transcript.js; days are those of the reader's own clock.

// [{key, day, sessions}], in the order of the sessions. `key` is "today", "yesterday", "week" (seven days), "month" (thirty), or
// "2026-03" for a month before them; `day` is a Date in it. `now` is a Date, or its milliseconds. What is to come, by a clock that
// is wrong, is today.
export function byDay(sessions, now) {
  const today = new Date(now);
  const groups = new Map();
  for (const session of sessions) {
    const day = new Date(session.updated_at * 1000);
    const key = dayKey(day, today);
    if (!groups.has(key)) groups.set(key, { key, day, sessions: [] });
    groups.get(key).sessions.push(session);
  }
  return [...groups.values()];
}

function dayKey(day, today) {
  const ago = daysBetween(day, today);
  if (ago <= 0) return "today";
  if (ago === 1) return "yesterday";
  if (ago <= 7) return "week";
  if (ago <= 30) return "month";
  return `${day.getFullYear()}-${String(day.getMonth() + 1).padStart(2, "0")}`;
}

// By the calendar: a day of 23 hours is one too.
function daysBetween(day, today) {
  const midnight = (date) => new Date(date.getFullYear(), date.getMonth(), date.getDate());
  return Math.round((midnight(today) - midnight(day)) / 86_400_000);
}
