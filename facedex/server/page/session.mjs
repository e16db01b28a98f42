// What this server is, what it offers, and what this browser may do with it.

import { ask } from "./api.mjs";

/** @type {any} */
let info = null;
/** @type {any} */
let description = null;

/** Reads what the server tells of itself. */
export async function begin() {
  description ??= await ask("GET", "/openapi.json");
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

/**
 * Whether the server has a route, so that the page shows only what works.
 * @param {string} method
 * @param {string} path
 */
export function offers(method, path) {
  return Boolean(description?.paths?.[path]?.[method.toLowerCase()]);
}

/** Whether a JSON body of the API has a field. @param {string} shape @param {string} field */
export function takes(shape, field) {
  return Boolean(description?.components?.schemas?.[shape]?.properties?.[field]);
}
