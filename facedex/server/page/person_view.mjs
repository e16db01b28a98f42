// The view of one person: enrolled photos, photos of the library, and what can be changed.

import { ask } from "./api.mjs";
import { changed } from "./changes.mjs";
import { consentPart, consentState } from "./consent.mjs";
import { confirmed } from "./dialogs.mjs";
import { button, labelled, make } from "./dom.mjs";
import { picture } from "./pictures.mjs";
import { attempt, notice } from "./notices.mjs";
import { nameField, personNamed } from "./people.mjs";
import { addPerson } from "./people_view.mjs";
import { mayChange, offers } from "./session.mjs";
import { makeLogged } from "./undoing.mjs";
import { showPhoto } from "./whole_photo.mjs";
import { counted, day, fileName, percent, sentence } from "./wording.mjs";

const PART = 100; // photos shown

/** @param {{id: string}} view */
export async function personView({ id }) {
  const path = `/v1/people/${encodeURIComponent(id)}`;
  const [faces, { suspicions }, scanned] = await Promise.all([
    ask("GET", `${path}/faces`, { query: { limit: PART } }),
    ask("GET", `${path}/suspicions`),
    offers("GET", "/v1/people/{person}/photos") ? ask("GET", `${path}/photos`, { query: { limit: PART } }) : null,
  ]);
  const { person } = faces;
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
    enrolledPart(person, faces, suspicious),
    scanned && libraryPart(scanned),
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
 */
function enrolledPart(person, answer, suspicious) {
  if (!answer.total) return null;
  const rows = answer.faces.map((/** @type {any} */ face) => {
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
  });
  const more = answer.total > rows.length && make("p", { class: "hint" }, `${answer.total - rows.length} more.`);
  const strange = suspicious.size
    ? make("p", { class: "warning" }, `${counted(suspicious.size, "photo")} may show somebody else.`)
    : null;
  return make("section", {}, make("h2", {}, "Enrolled photos"), strange, make("ul", { class: "shots" }, rows), more);
}

/** @param {any} answer of the photos that show the person */
function libraryPart(answer) {
  if (!answer.total) return null;
  const rows = answer.photos.map((/** @type {any} */ photo) =>
    make(
      "li",
      {},
      make(
        "button",
        { type: "button", class: "shot", on: { click: () => showPhoto(photo.face, photo.photo, photo.box) } },
        picture(photo.crop, ""),
        make("span", { class: "path", title: photo.photo }, fileName(photo.photo)),
      ),
    ),
  );
  return make(
    "section",
    {},
    make("h2", {}, "Photos of the library"),
    make("p", { class: "hint" }, `${counted(answer.total, "photo")}, the clearest first.`),
    make("ul", { class: "shots" }, rows),
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
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    const name = field.value.trim();
    if (!name || name === person.name) return;
    attempt(async () => {
      const call = (/** @type {string} */ to) => ask("PATCH", `/v1/people/${person.id}`, { json: { name: to } });
      await makeLogged(
        () => call(name),
        (now) => ({
          done: `${person.name} is now ${now.name}.`,
          what: `${now.name} renamed`,
          back: () => call(person.name),
        }),
      );
      changed("people");
    });
  };
  return make(
    "form",
    { class: "line", on: { submit } },
    labelled("Name", field),
    make("button", { type: "submit" }, "Rename"),
  );
}

/** @param {any} person */
function merging(person) {
  const { field, list } = nameField();
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    attempt(() => merge(person, field.value.trim()));
  };
  return make(
    "form",
    { class: "line", on: { submit } },
    labelled("Merge into", field, `Where ${person.name} is enrolled twice: the other name, which stays.`),
    list,
    make("button", { type: "submit" }, "Merge"),
  );
}

/** @param {any} person @param {string} name */
async function merge(person, name) {
  const other = name ? await personNamed(name) : undefined;
  if (!other || other.id === person.id) {
    notice(other ? "A person cannot be merged with itself." : `Nobody is enrolled as ${name}.`, { fault: true });
    return;
  }
  const text = `${other.name} gets ${counted(person.photos, "photo")} of ${person.name}, whose name goes.`;
  if (!(await confirmed(`Are ${person.name} and ${other.name} one person?`, text, "Merge"))) return;
  await makeLogged(
    () => ask("POST", `/v1/people/${person.id}/merge`, { json: { into: other.id } }),
    () => ({ done: `${person.name} is merged into ${other.name}.`, what: `${person.name} merged` }),
  );
  location.hash = `#/people/${other.id}`;
  changed("people");
}

/** @param {any} person */
async function removePerson(person) {
  const text =
    `Every face of ${person.name} is deleted from the gallery for good, and no undo brings it back. ` +
    "The photo files stay where they are.";
  if (!(await confirmed(`Remove ${person.name}?`, text, "Remove"))) return;
  await attempt(async () => {
    await ask("DELETE", `/v1/people/${person.id}`);
    notice(`${person.name} is removed.`);
    location.hash = "#/people";
    changed("people");
  });
}

/** @param {any} person @param {any} face @param {number} total */
async function removeFace(person, face, total) {
  const last = total === 1 ? ` It is the only one, so ${person.name} goes too.` : "";
  const text = `The face is deleted for good, and no undo brings it back.${last} The photo file stays.`;
  if (!(await confirmed(`Remove ${fileName(face.photo)}?`, text, "Remove"))) return;
  await attempt(async () => {
    await ask("DELETE", `/v1/people/${person.id}/faces/${face.id}`);
    notice(`The photo ${fileName(face.photo)} is removed.`);
    if (total === 1) location.hash = "#/people";
    changed("people");
  });
}
