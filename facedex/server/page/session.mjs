// What this server is, and what this browser may do with it.

import { ask } from "./api.mjs";

/** @type {any} */
let info = null;

/** Reads what the server tells of itself. */
export async function begin() {
  info = await ask("GET", "/v1/info");
  return info;
}

/** @returns {any} the last answer of /v1/info */
export function told() {
  return info;
}

/** Whether this browser may change the gallery. */
export function mayChange() {
  return info?.access === "full";
}
