// The dialog of a face: who it may be, and a way to say who it is.

import { open } from "./dialogs.mjs";
import { form, make, oneAtATime } from "./dom.mjs";
import { picture } from "./pictures.mjs";
import { nameFace } from "./enrolling.mjs";
import { faceCrop } from "./face_crops.mjs";
import { nameField, personNamed } from "./people.mjs";
import { mayChange } from "./session.mjs";
import { certainty, inSentence, percent, reason, sentence } from "./wording.mjs";

/** @typedef {import("./photo_list.mjs").Photo} Photo */

/**
 * @param {Photo} photo
 * @param {number} number of the face, from 0
 * @param {HTMLImageElement} image the photo on the page
 * @returns {Promise<void>} when it is closed
 */
export function openFace(photo, number, image) {
  const { answer } = photo;
  const face = answer?.faces[number];
  if (!answer || !face) return Promise.resolve();
  return open(face.name ?? "Who is this?", (close) => {
    const fault = make("p", { class: "fault", role: "alert" });
    const give = oneAtATime(async (/** @type {string} */ name) => {
      fault.textContent = "";
      try {
        await nameFace(photo.file, number + 1, name, faceCrop(image, face.box, 224, photo.size));
        close();
      } catch (error) {
        fault.textContent = reason(error);
        fault.scrollIntoView({ block: "nearest" });
      }
    });
    return [
      make(
        "div",
        { class: "face-head" },
        faceCrop(image, face.box, 288, photo.size),
        make(
          "div",
          {},
          make("p", { class: "lead" }, verdict(face)),
          face.warning && make("p", { class: "hint" }, sentence(face.warning)),
          make("p", { class: "hint" }, `Face ${number + 1} of ${answer.faces.length} in ${photo.file.name}`),
          scores(face, answer.decision),
        ),
      ),
      face.candidates.length ? candidates(face, give) : null,
      mayChange() ? naming(give, face.candidates.length > 0) : null,
      fault,
    ];
  });
}

/** @param {import("./photo_list.mjs").Face} face */
function verdict(face) {
  if (face.name) return `This is ${inSentence(face.name)}, ${certainty(face.probability)}.`;
  return face.reason ? sentence(face.reason) : "This face resembles nobody who is enrolled.";
}

/**
 * @param {import("./photo_list.mjs").Face} face
 * @param {{threshold: number | null} | null} decision
 */
function scores(face, decision) {
  if (face.logit === null || decision?.threshold == null) return null;
  const compared = `Its best score is ${face.logit.toFixed(2)}. A name needs ${decision.threshold.toFixed(2)}.`;
  return make("p", { class: "hint" }, compared);
}

/**
 * @param {import("./photo_list.mjs").Face} face
 * @param {(name: string) => void} give
 */
function candidates(face, give) {
  return make(
    "section",
    {},
    make("h3", {}, "Who it may be"),
    mayChange() && make("p", { class: "hint" }, "Choose the right one. The face is enrolled, and other photos follow."),
    make(
      "ul",
      { class: "candidates" },
      worthShowing(face.candidates).map((one) => candidate(one, give)),
    ),
  );
}

/** Those who are at all likely, and always the first three. @param {import("./photo_list.mjs").Candidate[]} all */
function worthShowing(all) {
  return all.filter((one, place) => place < 3 || one.probability >= 0.01);
}

/**
 * @param {import("./photo_list.mjs").Candidate} one
 * @param {(name: string) => void} give
 */
function candidate(one, give) {
  const place = make("span", { class: "crop gone", "aria-hidden": "true" });
  personNamed(one.name).then(
    (person) => person?.crop && place.replaceWith(picture(person.crop, "", { name: one.name })),
    () => undefined, // the name is there without its picture
  );
  const bar = make("span", { class: "bar", "aria-hidden": "true" }, make("span"));
  bar.firstElementChild.style.width = percentWide(one.probability);
  const inside = [
    place,
    make("span", { class: "who" }, make("span", { class: "name" }, one.name), bar),
    make("span", { class: "number" }, percent(one.probability)),
  ];
  const row = mayChange()
    ? make("button", { type: "button", class: "candidate", on: { click: () => give(one.name) } }, inside)
    : make("div", { class: "candidate" }, inside);
  return make("li", {}, row);
}

/** @param {number} probability */
function percentWide(probability) {
  return `${Math.max(1, 100 * probability)}%`;
}

/**
 * @param {(name: string) => void} give
 * @param {boolean} other whether candidates are listed above
 */
function naming(give, other) {
  const label = other ? "Somebody else" : "Name";
  const { element, name } = nameField(label, "A new name, or one that is enrolled.", { autofocus: !other });
  const send = () => name() && give(name());
  return form("line", send, element, make("button", { type: "submit" }, "Give this name"));
}
