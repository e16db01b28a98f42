// Looks people up, and completes their names.

import { ask } from "./api.mjs";
import { changes } from "./changes.mjs";
import { fill, freshId, labelled, make } from "./dom.mjs";

/**
 * @typedef {{id: number, name: string, photos: number, enrolled: string | null, crop: string | null,
 *   expired?: boolean}} Person
 */

/** @type {Map<string, Promise<Person | undefined>>} */
const known = new Map();
changes.addEventListener("change", () => known.clear());

/**
 * @param {string} part of a name
 * @param {number} limit
 * @returns {Promise<Person[]>}
 */
async function peopleLike(part, limit) {
  const q = [...part].slice(0, 200).join(""); // the server takes no longer part
  return (await ask("GET", "/v1/people", { query: { q, limit } })).people;
}

/** The person of exactly this name. @param {string} name */
export function personNamed(name) {
  let found = known.get(name);
  if (!found) {
    found = peopleLike(name, 1000).then((people) => people.find((person) => person.name === name));
    found.catch(() => known.delete(name));
    known.set(name, found);
  }
  return found;
}

/**
 * A labelled field for a name that completes to the names of the gallery.
 * @param {string} label
 * @param {string} [hint]
 * @param {Record<string, unknown>} [attributes]
 * @returns {{element: HTMLElement, name: () => string}} `name`: what it holds
 */
export function nameField(label, hint, attributes = {}) {
  const id = freshId();
  const list = make("datalist", { id });
  const field = make("input", {
    type: "text",
    list: id,
    autocomplete: "off",
    spellcheck: "false",
    maxlength: 1000,
    required: true,
    ...attributes,
  });
  let asked = 0;
  let timer = 0;
  field.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const number = (asked += 1);
      const people = await peopleLike(field.value.trim(), 12).catch(() => []); // completion may fail in silence
      if (number === asked)
        fill(
          list,
          people.map((person) => make("option", { value: person.name })),
        );
    }, 120);
  });
  const element = labelled(label, field, hint);
  element.append(list);
  return { element, name: () => field.value.trim() };
}
