// The view of photos that are dropped, chosen or pasted here.

import { button, fill, make } from "./dom.mjs";
import { notice } from "./notices.mjs";
import { add, album, photos, summary, takeOffAll } from "./photo_list.mjs";
import { photoCard } from "./photo_card.mjs";
import { strictness } from "./strictness.mjs";
import { counted } from "./wording.mjs";

/** The view is built once, so that photos stay while other views are open. @type {HTMLElement[] | null} */
let built = null;

/** @returns {Promise<{title: string, content: HTMLElement[]}>} */
export async function photosView() {
  built ??= build();
  return { title: "Who is in these photos?", content: built };
}

/** Takes photos that are dropped or pasted anywhere on the page. */
export function takePhotosEverywhere() {
  const hold = (/** @type {DragEvent} */ event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    document.body.classList.add("dragging");
  };
  document.addEventListener("dragenter", hold);
  document.addEventListener("dragover", hold);
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  });
  document.addEventListener("drop", (event) => {
    if (!event.dataTransfer?.files.length) return;
    event.preventDefault();
    document.body.classList.remove("dragging");
    take(event.dataTransfer.files);
  });
  document.addEventListener("paste", (event) => {
    const files = event.clipboardData?.files;
    if (files?.length) take(files);
  });
}

/** @param {Iterable<File>} files */
function take(files) {
  if (document.querySelector("dialog[open]")) return; // it has its own field for files
  const others = add(files);
  if (!location.hash.startsWith("#/photos")) location.hash = "#/photos";
  if (others.length)
    notice(`${counted(others.length, "file is", "files are")} no photo: ${others[0].name}.`, { fault: true });
}

function build() {
  const chooser = make("input", {
    type: "file",
    multiple: true,
    accept: "image/*,.heic,.heif,.dng,.cr2,.cr3,.nef,.arw",
    class: "hidden",
    tabindex: -1,
    "aria-hidden": "true",
  });
  chooser.addEventListener("change", () => {
    take([...chooser.files]);
    chooser.value = "";
  });
  const drop = make(
    "section",
    { class: "drop", "aria-label": "Add photos" },
    make("p", { class: "lead" }, "Drop photos here, or paste them."),
    button("Choose photos", () => chooser.click(), { class: "primary" }),
    chooser,
    make(
      "ol",
      { class: "steps" },
      make("li", {}, "Drop a photo of somebody you know."),
      make("li", {}, "Choose a face, and say who it is. One photo is enough."),
      make("li", {}, "Drop more photos. Faces of this person now have the name."),
    ),
  );
  const line = make("p", { class: "state", role: "status" });
  const bar = make("div", { class: "photo-bar" }, line, button("Take all off", takeOffAll, { class: "quiet" }));
  const settings = strictness();
  const list = make("ul", { class: "photos", "aria-label": "Photos" });
  /** @type {Map<import("./photo_list.mjs").Photo, ReturnType<typeof photoCard>>} */
  const cards = new Map();

  function showAll() {
    for (const photo of cards.keys()) if (!photos.includes(photo)) cards.delete(photo);
    for (const photo of photos) {
      if (cards.has(photo)) continue;
      const card = photoCard(photo);
      cards.set(photo, card);
      card.show();
    }
    for (const [photo, { element }] of cards) if (element.parentNode !== list) list.append(element);
    for (const element of [...list.children]) {
      if (![...cards.values()].some((card) => card.element === element)) element.remove();
    }
    drop.classList.toggle("small", photos.length > 0);
    bar.hidden = settings.hidden = list.hidden = !photos.length;
    showLine();
  }

  function showLine() {
    const left = photos.filter((photo) => photo.busy || photo.stale).length;
    fill(line, left ? `Looking at ${counted(left, "photo")} …` : summary());
  }

  album.addEventListener("photos", showAll);
  album.addEventListener("photo", (event) => {
    cards.get(/** @type {CustomEvent} */ (event).detail)?.show();
    showLine();
  });
  album.addEventListener("settled", showLine);
  showAll();
  return [drop, settings, bar, list];
}
