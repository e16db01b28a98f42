// The view of everybody enrolled.

import { ask } from "./api.mjs";
import { consentFields } from "./consent.mjs";
import { open } from "./dialogs.mjs";
import { button, fill, form, labelled, make } from "./dom.mjs";
import { picture } from "./pictures.mjs";
import { enroll } from "./enrolling.mjs";
import { longList } from "./long_list.mjs";
import { attempt } from "./notices.mjs";
import { nameField } from "./people.mjs";
import { mayChange } from "./session.mjs";
import { counted, reason, sentence } from "./wording.mjs";

const PART = 120; // people shown at a time

/** @typedef {import("./people.mjs").Person} Person */

let sought = "";

/** @param {{again: () => void}} view */
export async function peopleView(view) {
  const first = await ask("GET", "/v1/people", { query: { q: sought, limit: PART } });
  const line = make("p", { class: "state", role: "status" });
  const part = (/** @type {string} */ cursor) =>
    ask("GET", "/v1/people", { query: { q: sought, limit: PART, cursor } });
  const list = longList({ class: "people", "aria-label": "People" }, first, part, ({ people }) => people.map(card));
  let asked = 0;

  /** @param {number} total */
  function count(total) {
    fill(line, sought ? `${counted(total, "name")} with “${sought}”` : counted(total, "person", "people"));
  }

  async function search() {
    const number = (asked += 1);
    const found = await part("");
    if (number !== asked) return;
    list.begin(found);
    count(found.total);
  }

  const field = make("input", {
    type: "search",
    value: sought,
    maxlength: 200,
    autocomplete: "off",
    spellcheck: "false",
  });
  let timer = 0;
  field.addEventListener("input", () => {
    sought = field.value.trim();
    clearTimeout(timer);
    timer = setTimeout(() => attempt(search), 150);
  });
  const add = mayChange() && button("Add a person", () => addPerson(), { class: "primary" });
  if (!first.total && !sought) return { title: "People", content: [nobody(add)] };
  count(first.total);
  const tools = make("div", { class: "tools" }, labelled("Find a name", field), add);
  return { title: "People", content: [tools, line, ...list.elements] };
}

/** @param {HTMLElement | false} add */
function nobody(add) {
  return make(
    "section",
    { class: "empty" },
    make("p", { class: "lead" }, "Nobody is enrolled yet."),
    make(
      "p",
      {},
      "Drop a photo of somebody you know on the page ",
      make("a", { href: "#/photos" }, "Photos"),
      " and choose the face. Or add a person here by one photo or several.",
    ),
    add,
  );
}

/** @param {Person} person */
function card(person) {
  return make(
    "li",
    {},
    make(
      "a",
      { class: "person", href: `#/people/${person.id}` },
      picture(person.crop, "", { name: person.name }),
      make("span", { class: "name" }, person.name),
      make("span", { class: "hint" }, counted(person.photos, "photo")),
      person.expired && make("span", { class: "tag expired" }, "Consent expired"),
    ),
  );
}

/**
 * A dialog that enrolls photos.
 * @param {Person} [person] who is enrolled already; a new one is named in the dialog
 */
export function addPerson(person) {
  return open(person ? `Add photos of ${person.name}` : "Add a person", (close) => {
    const { element, name } = nameField("Name", undefined, { autofocus: true });
    const files = make("input", { type: "file", multiple: true, accept: "image/*,.heic,.heif", required: true });
    const terms = consentFields();
    const results = make("ul", { class: "results", "aria-live": "polite" });
    const send = make("button", { type: "submit", class: "primary" }, "Enroll");
    const submit = async () => {
      send.disabled = true;
      fill(results, make("li", {}, `Looking at ${counted(files.files.length, "photo")} …`));
      try {
        const path = person ? `/v1/people/${person.id}/faces` : "/v1/people";
        const fields = { ...(person ? {} : { name: name() }), ...terms.values() };
        const answer = await enroll(path, [...files.files], fields);
        const rest = answer.photos.filter((/** @type {any} */ photo) => photo.status !== "enrolled");
        if (!rest.length) return close();
        fill(
          results,
          rest.map((/** @type {any} */ photo) => make("li", {}, `${photo.photo}: ${sentence(photo.reason)}`)),
        );
      } catch (error) {
        fill(results, make("li", { class: "fault" }, reason(error)));
      }
      send.disabled = false;
    };
    return [
      form(
        null,
        submit,
        person ? null : element,
        labelled("Photos", files, "Of each photo, the most prominent face counts."),
        terms.element,
        results,
        make("div", { class: "actions" }, send),
      ),
    ];
  });
}
