// Asks the server. Its refusals become errors that carry the server's own sentence.

import { sentence } from "./wording.mjs";

const TRIES = 4; // of a request that a busy server puts off
const COMMAND = /; [^;]*(`facedex |--)[^;]*$/; // a remedy for people at a terminal

export class Refusal extends Error {
  /** @param {number} status @param {string} code @param {string} message @param {any} [details] */
  constructor(status, code, message, details) {
    super(message);
    this.details = details;
    this.status = status;
    this.code = code;
  }
}

/** Tells of "signin" where the server demands a token. */
export const doorbell = new EventTarget();

/**
 * @param {string} method
 * @param {string} path
 * @param {{json?: unknown, form?: FormData, query?: Record<string, unknown>, signal?: AbortSignal}} [content]
 * @returns {Promise<any>} the answer's JSON. Rejects with a Refusal
 */
export async function ask(method, path, content = {}) {
  const { json, form, query, signal } = content;
  const headers = json === undefined ? {} : { "Content-Type": "application/json" };
  const body = json === undefined ? form : JSON.stringify(json);
  for (let attempt = 1; ; attempt += 1) {
    const answer = await reach(path + asQuery(query), { method, headers, body, signal }, form);
    if (answer.ok) return answer.json();
    const wait = Number(answer.headers.get("Retry-After"));
    if (answer.status === 503 && wait && attempt < TRIES) {
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(wait, 10)));
      continue;
    }
    throw await refusal(answer);
  }
}

let working = 0;

/** Shows by the pointer that the server works, which takes long on a slow network. @param {number} more requests */
function work(more) {
  working += more;
  document.body.classList.toggle("working", working > 0);
}

/** @param {string} path @param {RequestInit} request @param {FormData} [form] */
async function reach(path, request, form) {
  const more = request.method === "GET" ? 0 : 1;
  work(more);
  try {
    return await fetch(path, { ...request, redirect: "error" });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    const lost = await unreadable(form);
    if (lost) throw new Refusal(0, "lost", `${lost} was changed or moved since it was chosen; add it again.`);
    throw new Refusal(0, "away", "The server does not answer; see whether facedex serve still runs.");
  } finally {
    work(-more);
  }
}

/** The name of a file that cannot be read any more. @param {FormData} [form] @returns {Promise<string | null>} */
async function unreadable(form) {
  for (const value of form?.values() ?? []) {
    if (!(value instanceof File)) continue;
    try {
      await value.slice(0, 1).arrayBuffer();
    } catch {
      return value.name;
    }
  }
  return null;
}

/** @param {Response} answer */
async function refusal(answer) {
  /** @type {any} */
  let error = { code: "unknown", message: `The server answered with the status ${answer.status}` };
  try {
    error = (await answer.json()).error ?? error;
  } catch {
    // the status says all there is
  }
  const message = answer.status < 500 ? error.message.replace(COMMAND, "") : error.message;
  const found = new Refusal(answer.status, error.code, sentence(message), error.details);
  if (answer.status === 401) doorbell.dispatchEvent(new Event("signin"));
  return found;
}

/** @param {Record<string, unknown>} [query] */
function asQuery(query = {}) {
  const pairs = Object.entries(query).filter(([, value]) => value !== null && value !== undefined && value !== "");
  return pairs.length ? `?${new URLSearchParams(pairs.map(([name, value]) => [name, String(value)]))}` : "";
}

/**
 * A form with photos and texts.
 * @param {File[]} photos
 * @param {Record<string, string>} [fields]
 */
export function formOf(photos, fields = {}) {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (const photo of photos) form.append("photo", photo, photo.name);
  return form;
}
