// Dialogs: the browser's own, with a heading, and closed by Esc.

import { button, fill, freshId, make } from "./dom.mjs";

/**
 * Opens a dialog, which leaves the page when it closes.
 * @param {string} title
 * @param {(close: (result?: any) => void) => (Node | null)[]} content
 * @param {{kind?: string}} [options]
 * @returns {Promise<any>} what `close` was given, undefined for Esc
 */
export function open(title, content, options = {}) {
  const heading = freshId();
  const dialog = make("dialog", { "aria-labelledby": heading, class: options.kind });
  return new Promise((resolve) => {
    let result;
    const close = (/** @type {any} */ value) => {
      result = value;
      dialog.close();
    };
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(result);
    });
    dialog.addEventListener("click", (/** @type {MouseEvent} */ event) => {
      if (event.target === dialog) dialog.close(); // the backdrop is the dialog's own
    });
    const leave = button("Close", () => dialog.close(), { class: "quiet small leave" }); // last, to be focused last
    fill(dialog, make("div", { class: "sheet" }, make("h2", { id: heading }, title), content(close), leave));
    document.body.append(dialog);
    dialog.showModal();
  });
}

/**
 * Asks a question; resolves to whether the answer is yes.
 * @param {string} title
 * @param {string} text
 * @param {string} yes what yes does, a verb
 * @returns {Promise<boolean>}
 */
export async function confirmed(title, text, yes) {
  const answer = await open(title, (close) => [
    make("p", {}, text),
    make(
      "div",
      { class: "actions" },
      button(yes, () => close(true), { class: "danger" }),
      button("Cancel", () => close(false), { class: "quiet", autofocus: true }),
    ),
  ]);
  return answer === true;
}
