// A person's consent and the day on which it ends, where the server keeps them.

import { ask } from "./api.mjs";
import { changed } from "./changes.mjs";
import { labelled, make } from "./dom.mjs";
import { attempt } from "./notices.mjs";
import { takes } from "./session.mjs";
import { rememberLogged } from "./undoing.mjs";
import { day } from "./wording.mjs";

/** What is known of a person's consent. @param {any} person */
export function consentState(person) {
  const said = (person.consents ?? []).filter(Boolean).join("; ");
  const over = person.expires && person.expires < new Date().toISOString().slice(0, 10);
  const until = person.expires && `${over ? "Expired on" : "Until"} ${day(person.expires)}.`;
  if (!said && !until) return null;
  return make("p", { class: over ? "warning" : "hint" }, [said && `Consent: ${said}.`, until].filter(Boolean).join(" "));
}

/** A form that changes both, null where the server does not take them. @param {any} person */
export function consentPart(person) {
  if (!takes("PersonChange", "expires")) return null;
  const consent = make("input", {
    type: "text", value: (person.consents ?? []).join("; "), maxlength: 1000, autocomplete: "off",
  });
  const expires = make("input", { type: "date", value: person.expires ?? "" });
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    attempt(async () => {
      const json = { consent: consent.value.trim(), expires: expires.value || "never" };
      await ask("PATCH", `/v1/people/${person.id}`, { json });
      await rememberLogged(`The consent of ${person.name} is changed.`, `consent of ${person.name}`, null);
      changed("people");
    });
  };
  return make(
    "form",
    { class: "line", on: { submit } },
    labelled("Consent", consent, "What the person allowed, in your words."),
    labelled("Valid until", expires, "After this day nobody is matched with the person."),
    make("button", { type: "submit" }, "Save the consent"),
  );
}
