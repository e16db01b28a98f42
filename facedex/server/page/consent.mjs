// A person's consent, and the day on which it ends.

import { ask } from "./api.mjs";
import { changed } from "./changes.mjs";
import { form, labelled, make } from "./dom.mjs";
import { attempt } from "./notices.mjs";
import { makeLogged } from "./undoing.mjs";
import { day, inSentence } from "./wording.mjs";

/** What is known of a person's consent. @param {any} person */
export function consentState(person) {
  const said = (person.consents ?? []).join("; ");
  const until = person.expires && `${person.expired ? "Expired after" : "Valid until"} ${day(person.expires)}.`;
  if (!said && !until) return null;
  const words = [said && `Consent: ${said}.`, until].filter(Boolean).join(" ");
  return make("p", { class: person.expired ? "warning" : "hint" }, words);
}

/** Fields for the consent of photos that are enrolled. */
export function consentFields() {
  const { consent, expires, element } = fields("", "");
  const details = make("details", {}, make("summary", {}, "Consent"), element);
  return { element: details, values: () => ({ consent: consent.value.trim(), expires: expires.value }) };
}

/** @param {string} said @param {string} until */
function fields(said, until) {
  const consent = make("input", { type: "text", value: said, maxlength: 1000, autocomplete: "off" });
  const expires = make("input", { type: "date", value: until });
  const element = make(
    "div",
    { class: "line" },
    labelled("Consent", consent, "What the person allowed, in your words."),
    labelled("Valid until", expires, "After this day nobody is matched by these photos."),
  );
  return { consent, expires, element };
}

/** A form that changes both, null where no photo is enrolled. @param {any} person */
export function consentPart(person) {
  if (!person.photos) return null;
  const who = inSentence(person.name);
  const { consent, expires, element } = fields((person.consents ?? []).join("; "), person.expires ?? "");
  const save = () =>
    attempt(async () => {
      const json = { consent: consent.value.trim(), expires: expires.value || "never" };
      await makeLogged(
        () => ask("PATCH", `/v1/people/${person.id}`, { json }),
        () => ({ done: `The consent of ${who} is changed.`, what: `consent of ${who}` }),
      );
      changed("people");
    });
  return form("stack", save, element, make("button", { type: "submit" }, "Save the consent"));
}
