// What a user decides about a group of scanned faces.

import { ask } from "./api.mjs";
import { changed } from "./changes.mjs";
import { makeLogged } from "./undoing.mjs";
import { are, counted, inSentence } from "./wording.mjs";

/**
 * @param {string} decision the last part of the route
 * @param {number} group
 * @param {unknown} json
 * @param {(answer: any) => {done: string, what: string}} words
 */
async function decide(decision, group, json, words) {
  await makeLogged(() => ask("POST", `/v1/groups/${group}/${decision}`, { json }), words);
  changed("groups");
}

/** Names all faces of a group. @param {number} group @param {string} name */
export function nameGroup(group, name) {
  return decide("name", group, { name }, (named) => {
    const others = named.others ? ` ${counted(named.others, "face")} ${are(named.others)} somebody else's.` : "";
    const faces = `${counted(named.faces, "face")} of group ${group} ${are(named.faces)} now`;
    return { done: `${faces} ${inSentence(named.name)}.${others}`, what: `group ${group} named` };
  });
}

/** @param {number} group @param {boolean} ignored */
export function ignoreGroup(group, ignored) {
  const done = ignored ? `Group ${group} is ignored.` : `Group ${group} waits for a name again.`;
  const what = `group ${group} ${ignored ? "ignored" : "back"}`;
  return decide("ignore", group, { ignored }, () => ({ done, what }));
}

/** Takes faces out of a group for good. @param {number} group @param {string[]} faces */
export function splitGroup(group, faces) {
  return decide("split", group, { faces }, (split) => {
    const done = `${counted(faces.length, "face")} ${are(faces.length)} now group ${split.group}.`;
    return { done, what: `group ${group} split` };
  });
}

/** Makes two groups one. @param {number} group the one that goes @param {number} into */
export function joinGroups(group, into) {
  const done = `Group ${group} is part of group ${into}.`;
  return decide("merge", group, { into }, () => ({ done, what: `group ${group} joined` }));
}

/** Says that faces are none. @param {number} group @param {string[]} faces */
export function markNoFaces(group, faces) {
  const done = `${counted(faces.length, "picture")} will not count as a face.`;
  return decide("not-a-face", group, { faces }, () => ({ done, what: `no face in group ${group}` }));
}
