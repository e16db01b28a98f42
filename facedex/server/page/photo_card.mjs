// One photo on the page: the picture with its boxes, and a list of its faces.

import { button, fill, make } from "./dom.mjs";
import { faceCrop } from "./face_crops.mjs";
import { openFace } from "./face_dialog.mjs";
import { place } from "./pictures.mjs";
import { takeOff } from "./photo_list.mjs";
import { counted, percent, sentence } from "./wording.mjs";

/** @typedef {import("./photo_list.mjs").Photo} Photo */
/** @typedef {import("./photo_list.mjs").Face} Face */

const CROP = 112; // pixels, twice the size on the page for fine screens

/**
 * @param {Photo} photo
 * @returns {{element: HTMLElement, show: () => void}} `show` draws the photo's present answer
 */
export function photoCard(photo) {
  const name = photo.file.name;
  const image = make("img", { src: photo.url, alt: `The photo ${name}`, loading: "lazy", decoding: "async" });
  const boxes = make("div", { class: "boxes", "aria-hidden": "true" });
  const fit = make("div", { class: "fit" }, image, boxes);
  const unseen = make("p", { class: "unseen" });
  const stage = make("div", { class: "stage" }, fit);
  const state = make("p", { class: "state" });
  const faces = make("ul", { class: "faces" });
  const element = make(
    "li",
    { class: "photo" },
    stage,
    make(
      "div",
      { class: "photo-head" },
      make("h2", { title: name }, name),
      button("Take off", () => takeOff(photo), { class: "quiet small", "aria-label": `Take ${name} off the page` }),
    ),
    state,
    faces,
  );

  let drawn = { answer: /** @type {any} */ (null), width: -1 };

  function show() {
    element.setAttribute("aria-busy", String(photo.busy));
    element.classList.toggle("busy", photo.busy);
    const answer = photo.answer;
    fill(state, stateOf(photo));
    state.classList.toggle("fault", Boolean(photo.problem));
    const seen = photo.drawable !== false || photo.size !== null;
    fill(unseen, photo.busy ? "" : "There is no picture of this photo.");
    if (stage.firstChild !== (seen ? fit : unseen)) fill(stage, seen ? fit : unseen);
    if (image.getAttribute("src") !== photo.url) image.src = photo.url;
    if (drawn.answer === answer && drawn.width === image.naturalWidth) return;
    drawn = { answer, width: image.naturalWidth };
    const found = answer?.faces ?? [];
    const focused = [...faces.children].findIndex((row) => row.contains(document.activeElement));
    const size = photo.size ?? { width: image.naturalWidth, height: image.naturalHeight };
    const marks = found.map((face) => mark(face, size));
    fill(boxes, marks);
    fill(
      faces,
      found.map((face, number) => row(photo, face, number, image, marks[number], () => openAt(number))),
    );
    if (focused >= 0) focusAt(focused);
    marks.forEach((one, number) => one.addEventListener("click", () => openAt(number)));
  }

  const focusAt = (/** @type {number} */ number) =>
    /** @type {any} */ (faces.children[number])?.firstElementChild.focus();
  const openAt = async (/** @type {number} */ number) => {
    await openFace(photo, number, image);
    focusAt(number); // the row that opened the dialog may have been drawn anew meanwhile
  };

  image.addEventListener("load", show);
  return { element, show };
}

/** @param {Photo} photo */
function stateOf(photo) {
  if (photo.problem) return photo.problem;
  if (!photo.answer) return photo.busy ? "Looking …" : "Waiting …";
  const { faces, error, remark } = photo.answer;
  const rest = error ? sentence(error) : faces.length ? counted(faces.length, "face") : "No face found.";
  return [rest, remark && sentence(remark)].filter(Boolean).join(" ");
}

/**
 * The box of a face on its photo.
 * @param {Face} face
 * @param {{width: number, height: number}} size of the photo, 0 until it is known
 */
function mark(face, size) {
  const label = face.name ? `${face.name} ${percent(face.probability)}` : "?";
  const box = make("div", { class: face.name ? "box named" : "box" }, make("span", {}, label));
  box.hidden = !size.width;
  place(box, face.box, size);
  const middle = face.box[0] + face.box[2] / 2;
  if (middle > size.width * 0.6) box.classList.add("right"); // its label must not leave the photo
  return box;
}

/**
 * A face in the list, which opens its dialog.
 * @param {Photo} photo
 * @param {Face} face
 * @param {number} number
 * @param {HTMLImageElement} image
 * @param {HTMLElement} box
 * @param {() => void} press
 */
function row(photo, face, number, image, box, press) {
  const light = (/** @type {boolean} */ on) => () => box.classList.toggle("lit", on);
  const open = make(
    "button",
    {
      type: "button",
      class: "face",
      on: {
        click: press,
        pointerenter: light(true),
        pointerleave: light(false),
        focus: light(true),
        blur: light(false),
      },
    },
    faceCrop(image, face.box, CROP, photo.size),
    make(
      "span",
      { class: "who" },
      make("span", { class: face.name ? "name" : "name unknown" }, face.name ?? "Unknown"),
      make("span", { class: "hint" }, hint(face)),
    ),
    make("span", { class: "hidden" }, `, face ${number + 1} of ${photo.answer?.faces.length} in ${photo.file.name}`),
  );
  return make("li", {}, open);
}

/** What is said of a face below its name. @param {Face} face */
function hint(face) {
  if (face.name) return [percent(face.probability), face.warning].filter(Boolean).join(", ");
  return face.reason ?? "resembles nobody enrolled";
}
