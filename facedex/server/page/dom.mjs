// Makes elements. Text becomes text nodes and never markup, whatever a name holds.

/**
 * @typedef {Node | string | number | null | undefined | false} Child
 * @typedef {Record<string, unknown>} Attributes `on` holds listeners by event; `false`, null and undefined leave out
 */

/**
 * @param {string} tag
 * @param {Attributes} [attributes]
 * @param {...(Child | Child[])} children
 * @returns {any} the element
 */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(/** @type {any} */ (value)))
        element.addEventListener(event, listener);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
  element.append(...present(children));
  return element;
}

/**
 * Puts these children in the place of an element's own.
 * @param {Element} element
 * @param {...(Child | Child[])} children
 */
export function fill(element, ...children) {
  element.replaceChildren(...present(children));
}

/** @param {(Child | Child[])[]} children */
function present(children) {
  return children
    .flat()
    .filter((child) => child !== null && child !== undefined && child !== false)
    .map((child) => (child instanceof Node ? child : String(child)));
}

/**
 * A button with a text.
 * @param {string} text
 * @param {(event: Event) => unknown} press
 * @param {Attributes} [attributes]
 */
export function button(text, press, attributes = {}) {
  return make("button", { type: "button", ...attributes, on: { click: oneAtATime(press) } }, text);
}

/**
 * A form, which sends nothing itself.
 * @param {string | null} kind its class
 * @param {() => unknown} send what its button, or Enter, does
 * @param {...(Child | Child[])} children
 */
export function form(kind, send, ...children) {
  const once = oneAtATime(send);
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    once();
  };
  return make("form", { class: kind, on: { submit } }, ...children);
}

/**
 * What it makes does nothing while it still runs: whoever presses twice on a slow network means once.
 * @template {unknown[]} Arguments
 * @param {(...values: Arguments) => unknown} work
 * @returns {(...values: Arguments) => Promise<void>}
 */
export function oneAtATime(work) {
  let runs = false;
  return async (...values) => {
    if (runs) return;
    runs = true;
    try {
      await work(...values);
    } finally {
      runs = false;
    }
  };
}

let made = 0;

/** A fresh id, to tie a label to its field. */
export function freshId() {
  made += 1;
  return `id${made}`;
}

/**
 * A label above a field, with a hint below.
 * @param {string} label
 * @param {HTMLElement} field
 * @param {string} [hint]
 */
export function labelled(label, field, hint) {
  field.id ||= freshId();
  const hintId = hint ? freshId() : null;
  if (hintId) field.setAttribute("aria-describedby", hintId);
  return make(
    "div",
    { class: "field" },
    make("label", { for: field.id }, label),
    field,
    hintId && make("p", { class: "hint", id: hintId }, hint),
  );
}
