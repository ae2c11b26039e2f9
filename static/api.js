// The HTTP API. Every failure is an ApiError, with status 0 when the server could not be reached.
import { connection as strings } from "./strings.js";

export const MOST_FOUND = 100; // sessions that a search asks for

export class ApiError extends Error {
  constructor(status, message, data) {
    super(message);
    this.status = status;
    this.data = data ?? {};
  }
}

const call = (method, path, body) => send(method, path, body !== undefined && {
  headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
});

async function send(method, path, content) {
  let response;
  try {
    response = await fetch(path, { method, ...content });
  } catch {
    throw new ApiError(0, strings.unreachable);
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new ApiError(response.status, answer.error?.message ?? strings.answered(response.status), answer.error?.data);
}

// The address of what is given, but for what is null or undefined.
const query = (path, given) => `${path}?${new URLSearchParams(Object.entries(given).filter(([, value]) => value !== null && value !== undefined))}`;

export const listSessions = ({ after, limit = 50 }) => call("GET", query("/api/sessions", { limit, after }));
export const searchSessions = (q) => call("GET", query("/api/sessions", { limit: MOST_FOUND, q }));
export const createSession = () => call("POST", "/api/sessions", {});
export const deleteSession = (id) => call("DELETE", `/api/sessions/${id}`);
export const restoreSession = (id) => call("POST", `/api/sessions/${id}/restore`);
export const renameSession = (id, title) => call("PATCH", `/api/sessions/${id}`, { title });
export const exportAddress = (id, format) => `/api/sessions/${id}/export?format=${format}`;
export const importFile = (file) => send("POST", query("/api/import", { name: file.name }), { body: file });
export const getCommands = () => call("GET", "/api/commands");
export const complete = (text) => call("GET", `/api/complete?text=${encodeURIComponent(text)}`);
export const login = (token) => call("POST", "/api/login", { token });
