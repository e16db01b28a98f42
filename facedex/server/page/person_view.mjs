// The view of one person: enrolled photos, photos of the library, and what can be changed.

import { ask } from "./api.mjs";
import { changed } from "./changes.mjs";
import { consentPart, consentState } from "./consent.mjs";
import { confirmed } from "./dialogs.mjs";
import { button, form, labelled, make } from "./dom.mjs";
import { longList } from "./long_list.mjs";
import { picture } from "./pictures.mjs";
import { attempt, notice } from "./notices.mjs";
import { nameField, personNamed } from "./people.mjs";
import { addPerson } from "./people_view.mjs";
import { mayChange } from "./session.mjs";
import { makeLogged } from "./undoing.mjs";
import { showPhoto } from "./whole_photo.mjs";
import { counted, day, fileName, inSentence, percent, sentence } from "./wording.mjs";

const PART = 100; // photos shown

/** @param {{id: string}} view */
export async function personView({ id }) {
  const path = `/v1/people/${encodeURIComponent(id)}`;
  const [faces, { suspicions }, scanned] = await Promise.all([
    ask("GET", `${path}/faces`, { query: { limit: PART } }),
    ask("GET", `${path}/suspicions`),
    ask("GET", `${path}/photos`, { query: { limit: PART } }),
  ]);
  const { person } = faces;
  const next = (/** @type {string} */ list) => (/** @type {string} */ cursor) =>
    ask("GET", `${path}/${list}`, { query: { limit: PART, cursor } });
  const suspicious = new Map(suspicions.map((/** @type {any} */ one) => [one.face, one]));
  const content = [
    make(
      "div",
      { class: "person-head" },
      picture(person.crop, "", { kind: "portrait", name: person.name }),
      make(
        "div",
        {},
        make("p", { class: "lead" }, enrolledWords(person)),
        consentState(person),
        mayChange() && button("Add photos", () => addPerson(person), { class: "primary" }),
      ),
    ),
    enrolledPart(person, faces, suspicious, next("faces")),
    libraryPart(scanned, next("photos")),
    mayChange() && changesPart(person),
  ];
  return { title: person.name, content: content.filter(Boolean), back: { text: "People", to: "#/people" } };
}

/** @param {any} person */
function enrolledWords(person) {
  if (!person.photos) return "No photo is enrolled any more. Scanned faces keep the name.";
  return `${counted(person.photos, "enrolled photo")} since ${day(person.enrolled)}.`;
}

/**
 * @param {any} person
 * @param {any} answer
 * @param {Map<string, any>} suspicious
 * @param {(cursor: string) => Promise<any>} next
 */
function enrolledPart(person, answer, suspicious, next) {
  if (!answer.total) return null;
  const row = (/** @type {any} */ face) => {
    const doubt = suspicious.get(face.id);
    return make(
      "li",
      { class: doubt ? "shot doubtful" : "shot" },
      picture(face.crop, `Face of ${person.name} in ${fileName(face.photo)}`, { name: person.name }),
      make("span", { class: "path", title: face.photo }, fileName(face.photo)),
      make(
        "span",
        { class: "hint" },
        [
          `since ${day(face.enrolled)}`,
          face.similarity === null ? null : `${percent(face.similarity)} like the others`,
          face.unclear ? "unclear" : null,
          face.consent ? `consent: ${face.consent}` : null,
          face.expires ? `${face.expired ? "expired after" : "valid until"} ${day(face.expires)}` : null,
        ]
          .filter(Boolean)
          .join(", "),
      ),
      doubt && make("p", { class: "doubt" }, sentence(doubt.detail)),
      mayChange() &&
        button("Remove", () => removeFace(person, face, answer.total), {
          class: "quiet small",
          "aria-label": `Remove the photo ${fileName(face.photo)}`,
        }),
    );
  };
  const list = longList({ class: "shots" }, answer, next, (part) => part.faces.map(row));
  const strange = suspicious.size
    ? make("p", { class: "warning" }, `${counted(suspicious.size, "photo")} may show somebody else.`)
    : null;
  return make("section", {}, make("h2", {}, "Enrolled photos"), strange, list.elements);
}

/**
 * @param {any} answer of the photos that show the person
 * @param {(cursor: string) => Promise<any>} next
 */
function libraryPart(answer, next) {
  if (!answer.total) return null;
  const row = (/** @type {any} */ photo) =>
    make(
      "li",
      {},
      make(
        "button",
        { type: "button", class: "shot", on: { click: () => showPhoto(photo.face, photo.photo, photo.box) } },
        picture(photo.crop, ""),
        make("span", { class: "path", title: photo.photo }, fileName(photo.photo)),
      ),
    );
  return make(
    "section",
    {},
    make("h2", {}, "Photos of the library"),
    make("p", { class: "hint" }, `${counted(answer.total, "photo")}, the clearest first.`),
    longList({ class: "shots" }, answer, next, (part) => part.photos.map(row)).elements,
  );
}

/** @param {any} person */
function changesPart(person) {
  return make(
    "section",
    { class: "changes" },
    make("h2", {}, "Change"),
    renaming(person),
    merging(person),
    consentPart(person),
    make(
      "div",
      { class: "field" },
      button(`Remove ${person.name}`, () => removePerson(person), { class: "danger" }),
    ),
  );
}

/** @param {any} person */
function renaming(person) {
  const field = make("input", {
    type: "text",
    value: person.name,
    required: true,
    maxlength: 1000,
    autocomplete: "off",
  });
  const rename = () => {
    const name = field.value.trim();
    if (!name || name === person.name) return undefined;
    return attempt(async () => {
      await makeLogged(
        () => ask("PATCH", `/v1/people/${person.id}`, { json: { name } }),
        (now) => ({
          done: `${inSentence(person.name)} is now ${inSentence(now.name)}.`,
          what: `${inSentence(now.name)} renamed`,
        }),
      );
      changed("people");
    });
  };
  return form("line", rename, labelled("Name", field), make("button", { type: "submit" }, "Rename"));
}

/** @param {any} person */
function merging(person) {
  const hint = "Where somebody is enrolled twice: the other name, which stays.";
  const { element, name } = nameField("Merge into", hint);
  const send = () => attempt(() => merge(person, name()));
  return form("line", send, element, make("button", { type: "submit" }, "Merge"));
}

/** @param {any} person @param {string} name */
async function merge(person, name) {
  const other = name ? await personNamed(name) : undefined;
  if (!other || other.id === person.id) {
    const nobody = `Nobody is enrolled as ${inSentence(name)}.`;
    notice(other ? "A person cannot be merged with itself." : nobody, { fault: true });
    return;
  }
  const [one, stays] = [person, other].map((each) => inSentence(each.name));
  const text = `${stays} gets ${counted(person.photos, "photo")} of ${one}, whose name goes.`;
  if (!(await confirmed(`Are ${one} and ${stays} one person?`, text, "Merge"))) return;
  await makeLogged(
    () => ask("POST", `/v1/people/${person.id}/merge`, { json: { into: other.id } }),
    () => ({ done: `${one} is merged into ${stays}.`, what: `${one} merged` }),
  );
  location.hash = `#/people/${other.id}`;
  changed("people");
}

/** @param {any} person */
async function removePerson(person) {
  const name = inSentence(person.name);
  const text =
    `Every face of ${name} is deleted from the gallery for good, and no undo brings it back. ` +
    "The photo files stay where they are.";
  if (!(await confirmed(`Remove ${name}?`, text, "Remove"))) return;
  await attempt(async () => {
    await ask("DELETE", `/v1/people/${person.id}`);
    notice(`${name} is removed.`);
    location.hash = "#/people";
    changed("people");
  });
}

/** @param {any} person @param {any} face @param {number} total */
async function removeFace(person, face, total) {
  const last = total === 1 ? ` It is the only one, so ${inSentence(person.name)} goes too.` : "";
  const text = `The face is deleted for good, and no undo brings it back.${last} The photo file stays.`;
  if (!(await confirmed(`Remove ${fileName(face.photo)}?`, text, "Remove"))) return;
  await attempt(async () => {
    await ask("DELETE", `/v1/people/${person.id}/faces/${face.id}`);
    notice(`The photo ${fileName(face.photo)} is removed.`);
    if (total === 1) location.hash = "#/people";
    changed("people");
  });
}
