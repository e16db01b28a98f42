// Starts the page: which view the address names, and when it is drawn anew.

import { doorbell } from "./api.mjs";
import { changes, follow } from "./changes.mjs";
import { fill, make } from "./dom.mjs";
import { galleryView } from "./gallery_view.mjs";
import { groupView } from "./group_view.mjs";
import { libraryView } from "./library_view.mjs";
import { notice } from "./notices.mjs";
import { peopleView } from "./people_view.mjs";
import { personView } from "./person_view.mjs";
import { photosView, takePhotosEverywhere } from "./photos_view.mjs";
import { questionsView } from "./questions_view.mjs";
import { begin } from "./session.mjs";
import { signInView } from "./sign_in.mjs";
import { offerUndo } from "./undoing.mjs";
import { reason } from "./wording.mjs";

/** @typedef {{title: string, content: Node[], back?: {text: string, to: string}, still?: boolean}} View */

/** The views by address. `still`: a change of the gallery does not draw it anew. */
const ROUTES = [
  { path: /^#\/photos$/, tab: "photos", draw: photosView, still: true },
  { path: /^#\/people$/, tab: "people", draw: peopleView },
  { path: /^#\/people\/(\d+)$/, tab: "people", draw: personView },
  { path: /^#\/library$/, tab: "library", draw: libraryView },
  { path: /^#\/library\/questions$/, tab: "library", draw: questionsView, still: true },
  { path: /^#\/library\/(\d+)$/, tab: "library", draw: groupView },
  { path: /^#\/gallery$/, tab: "gallery", draw: galleryView },
];
const TABS = { photos: "Photos", people: "People", library: "Library", gallery: "Gallery" };

const main = /** @type {HTMLElement} */ (document.getElementById("main"));
let drawn = 0;
let signedOut = false;

function route() {
  for (const one of ROUTES) {
    const match = one.path.exec(location.hash);
    if (match) return { ...one, id: match[1] };
  }
  return { ...ROUTES[0], id: undefined };
}

/** Draws the view that the address names. @param {boolean} moved whether the user went there */
async function draw(moved) {
  const number = (drawn += 1);
  const { tab, draw: view, id } = route();
  for (const link of document.querySelectorAll("#views a")) {
    if (link.getAttribute("href") === `#/${tab}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  main.setAttribute("aria-busy", "true");
  try {
    const made = await view({ id: id ?? "", again: () => draw(false) });
    if (number === drawn && !signedOut) show(made, moved);
  } catch (error) {
    if (number === drawn && !signedOut) show(fault(error), moved);
  }
  if (number === drawn) main.removeAttribute("aria-busy");
}

/** @param {View} view @param {boolean} moved */
function show(view, moved) {
  const heading = make("h1", { tabindex: -1 }, view.title);
  const back = view.back && make("p", { class: "back" }, make("a", { href: view.back.to }, `← ${view.back.text}`));
  document.title = `${view.title} · facedex`;
  const at = moved ? 0 : scrollY;
  const focused = main.contains(document.activeElement) ? document.activeElement : null;
  fill(main, back, heading, view.content);
  if (moved) heading.focus({ preventScroll: true });
  else if (focused) (twin(focused) ?? heading).focus({ preventScroll: true });
  scrollTo(0, at);
}

/**
 * The element that stands where one stood before the view was drawn anew: of the same kind and words.
 * @param {Element} former
 * @returns {HTMLElement | undefined}
 */
function twin(former) {
  const words = (/** @type {Element} */ one) =>
    one.getAttribute("aria-label") ?? /** @type {any} */ (one).labels?.[0]?.textContent ?? one.textContent;
  return [...main.querySelectorAll(former.tagName)].find((one) => words(one) === words(former));
}

/** @param {unknown} error */
function fault(error) {
  return { title: "This cannot be shown", content: [make("p", { class: "fault" }, reason(error))] };
}

let owed = false; // a view that is to be drawn anew once the user has left a field

/** Draws the view anew after a change, unless the user is typing in it. */
function redraw() {
  owed = isTyping(document.activeElement);
  if (!owed && !route().still) draw(false);
}

/** Whether somebody has changed a field and not sent it yet. @param {Element | null} field */
function isTyping(field) {
  if (!(field instanceof HTMLInputElement) || !main.contains(field)) return false;
  return field.value !== field.defaultValue && field.form?.dataset.sent !== "yes";
}

let waiting = 0;
changes.addEventListener("change", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => begin().then(redraw, (error) => notice(error.message, { fault: true })), 60);
});
document.addEventListener("submit", (event) => /** @type {HTMLElement} */ (event.target.dataset.sent = "yes"), true);
document.addEventListener("input", (event) => delete (/** @type {any} */ (event.target).form?.dataset.sent));
document.addEventListener("focusout", () => owed && setTimeout(redraw));
doorbell.addEventListener("signin", () => {
  if (!signedOut) show(signInView(), true);
  signedOut = true;
});

async function start() {
  fill(
    /** @type {HTMLElement} */ (document.getElementById("views")),
    Object.entries(TABS).map(([tab, text]) => make("a", { href: `#/${tab}` }, text)),
  );
  addEventListener("hashchange", () => draw(true));
  try {
    await begin();
  } catch (error) {
    if (!signedOut) show(fault(error), true);
    return;
  }
  offerUndo();
  takePhotosEverywhere();
  follow();
  await draw(true);
}

start();
