// What can be undone, the last change first.

import { ask } from "./api.mjs";
import { changed } from "./changes.mjs";
import { oneAtATime } from "./dom.mjs";
import { attempt, notice } from "./notices.mjs";
import { mayChange } from "./session.mjs";

/** @typedef {{what: string, back: () => Promise<unknown>}} Step `what` completes the words "Undo: " */

/** @type {Step[]} */
const steps = [];
const key = /** @type {HTMLButtonElement} */ (document.getElementById("undo"));

/** Ties the button and Ctrl+Z. */
export function offerUndo() {
  key.addEventListener("click", undoLast);
  document.addEventListener("keydown", (event) => {
    const typing = event.target instanceof HTMLInputElement && event.target.type !== "range";
    if ((event.ctrlKey || event.metaKey) && !event.shiftKey && event.key.toLowerCase() === "z" && !typing) {
      event.preventDefault();
      undoLast();
    }
  });
  show();
}

/**
 * Keeps a change that was made, and says so with a way back.
 * @param {string} done a sentence
 * @param {Step} step
 */
export function remember(done, step) {
  steps.push(step);
  show();
  notice(done, { action: { text: "Undo", press: () => undo(step) } });
}

/**
 * Makes a change that the server itself can undo, since it keeps a log, and remembers it.
 * @template T
 * @param {() => Promise<T>} work
 * @param {(result: T) => {done: string, what: string}} words
 * @returns {Promise<T>} what `work` gives
 */
export async function makeLogged(work, words) {
  const before = await lastChange();
  const result = await work();
  const { done, what } = words(result);
  const after = await lastChange();
  if (after && after !== before)
    remember(done, { what, back: () => ask("POST", "/v1/undo", { json: { change: after } }) });
  else notice(`${done} This cannot be undone.`);
  return result;
}

/** The number of the last change that the server can undo. @returns {Promise<number | null>} */
async function lastChange() {
  return (await ask("GET", "/v1/undo")).change?.number ?? null;
}

/** @param {Step} step */
async function undo(step) {
  if (!steps.includes(step)) return;
  await attempt(async () => {
    await step.back();
    steps.splice(steps.indexOf(step), 1);
    notice(`Undone: ${step.what}.`);
    changed("everything");
  });
  show();
}

/** Undoes the last change of this page. */
export const undoLast = oneAtATime(async () => {
  const step = steps.at(-1);
  if (step) await undo(step);
});

function show() {
  const step = steps.at(-1);
  key.disabled = !step;
  key.textContent = step ? `Undo: ${step.what}` : "Undo";
  key.title = step ? key.textContent : "Nothing to undo";
  key.hidden = !mayChange();
}
