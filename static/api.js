// The HTTP API. Every failure is an ApiError, with status 0 when the server could not be reached.

export class ApiError extends Error {
  constructor(status, message, data) {
    super(message);
    this.status = status;
    this.data = data ?? {};
  }
}

async function call(method, path, body) {
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch {
    throw new ApiError(0, "The server cannot be reached.");
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  throw new ApiError(response.status, answer.error?.message ?? `The server answered ${response.status}.`, answer.error?.data);
}

export const listSessions = (after) => call("GET", `/api/sessions?limit=50${after ? `&after=${encodeURIComponent(after)}` : ""}`);
export const createSession = () => call("POST", "/api/sessions", {});
export const deleteSession = (id) => call("DELETE", `/api/sessions/${id}`);
export const getCommands = () => call("GET", "/api/commands");
export const complete = (text) => call("GET", `/api/complete?text=${encodeURIComponent(text)}`);
export const login = (token) => call("POST", "/api/login", { token });
