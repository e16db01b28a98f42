// Short messages at the edge of the page, which screen readers read out.

import { button, fill, make } from "./dom.mjs";
import { reason } from "./wording.mjs";

const SECONDS = 12; // that a message without a fault stays

const place = /** @type {HTMLElement} */ (document.getElementById("notices"));

/**
 * @param {string} text
 * @param {{fault?: boolean, action?: {text: string, press: () => void}}} [options]
 */
export function notice(text, options = {}) {
  const { fault = false, action } = options;
  const close = () => note.remove();
  const note = make(
    "div",
    { class: fault ? "notice fault" : "notice" },
    make("p", {}, text),
    action && button(action.text, () => (close(), action.press())),
    button("Close", close, { class: "quiet" }),
  );
  fill(place, [...place.children].slice(-2), note);
  if (!fault) leaveLater(note);
}

/** Removes a message after a while, but not from under a pointer or the focus. @param {HTMLElement} note */
function leaveLater(note) {
  setTimeout(() => {
    if (note.matches(":hover, :focus-within")) leaveLater(note);
    else note.remove();
  }, 1000 * SECONDS);
}

/**
 * Does something, and shows why it failed where it fails.
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T | undefined>}
 */
export async function attempt(work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") return undefined;
    notice(reason(error), { fault: true });
    return undefined;
  }
}
