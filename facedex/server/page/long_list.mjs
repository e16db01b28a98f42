// Lists that the server gives in parts.

import { button, fill, make } from "./dom.mjs";
import { attempt } from "./notices.mjs";

/**
 * A list and a button below it, which adds the next part.
 * @param {Record<string, unknown>} attributes of the list
 * @param {any} first an answer of the server, which `next` continues
 * @param {(cursor: string) => Promise<any>} ask gives the part at a cursor
 * @param {(part: any) => HTMLElement[]} rows
 * @returns {{elements: HTMLElement[], begin: (part: any) => void}} `begin` puts another first part in place of all
 */
export function longList(attributes, first, ask, rows) {
  const list = make("ul", attributes);
  let next = "";
  const more = button("Show more", () => attempt(async () => take(await ask(next))), { class: "quiet" });

  /** @param {any} part */
  function take(part) {
    list.append(...rows(part));
    next = part.next;
    more.hidden = next === null;
  }

  /** @param {any} part */
  function begin(part) {
    fill(list);
    take(part);
  }
  begin(first);
  return { elements: [list, more], begin };
}
