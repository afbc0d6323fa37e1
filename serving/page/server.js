// The server that this page came from: the key it may want, its answers and its errors.

export const ROOT = new URL("../", import.meta.url);
const STORED = "trainyard-key";
const SENDABLE = /^[\x21-\x7e]+$/;

export class ServerError extends Error {
  constructor({ status, code, message, field, remedy, id }) {
    super(message);
    Object.assign(this, { status, code, field, remedy, id });
  }
}

let key = read();

export function hasKey() {
  return key !== "";
}

export function useKey(given) {
  const wanted = given.trim();
  if (wanted && !SENDABLE.test(wanted)) {
    throw new ServerError({ message: "A key has letters, digits and signs of ASCII only, and no spaces." });
  }
  key = wanted;
  try {
    if (key) sessionStorage.setItem(STORED, key);
    else sessionStorage.removeItem(STORED);
  } catch {
    // a browser that keeps nothing: it holds until the page is left
  }
}

/** The answer, its body read. Throws ServerError for whatever is no success. */
export async function call(path, { method = "GET", headers = {}, body } = {}) {
  const authorization = key ? { Authorization: `Bearer ${key}` } : {};
  let response;
  let text;
  try {
    response = await fetch(new URL(path, ROOT), {
      method,
      headers: { ...headers, ...authorization },
      body,
      cache: "no-store",
    });
    text = await response.text();
  } catch {
    throw new ServerError({ status: 0, code: "unreachable", message: "The server cannot be reached." });
  }
  if (!response.ok) throw refusal(response, text);
  return { text, headers: response.headers };
}

/** As `call`, for JSON. */
export async function ask(path, options) {
  return JSON.parse((await call(path, options)).text);
}

/** /health says how the server is also when it is unwell, with 503. */
export async function health() {
  const response = await fetch(new URL("health", ROOT), { cache: "no-store" });
  return response.json();
}

function refusal(response, text) {
  const { status } = response;
  const id = response.headers.get("X-Request-Id");
  try {
    const { error } = JSON.parse(text);
    if (typeof error === "string") return new ServerError({ status, message: error, id });
    return new ServerError({ status, id, ...error });
  } catch {
    return new ServerError({ status, id, message: `HTTP ${status} ${response.statusText}`.trim() });
  }
}

function read() {
  try {
    return sessionStorage.getItem(STORED) ?? "";
  } catch {
    return "";
  }
}
