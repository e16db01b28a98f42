// What a user decides about a group of scanned faces.

import { ask } from "./api.mjs";
import { changed } from "./changes.mjs";
import { makeLogged } from "./undoing.mjs";
import { counted } from "./wording.mjs";

/**
 * @param {string} decision the last part of the route
 * @param {number} group
 * @param {unknown} json
 * @param {(answer: any) => {done: string, what: string, back?: () => Promise<unknown>}} words
 */
async function decide(decision, group, json, words) {
  await makeLogged(() => ask("POST", `/v1/groups/${group}/${decision}`, { json }), words);
  changed("groups");
}

/** Names all faces of a group. @param {number} group @param {string} name */
export function nameGroup(group, name) {
  return decide("name", group, { name }, (named) => {
    const others = named.others ? ` ${counted(named.others, "face")} of the group belong to somebody else.` : "";
    const done = `${counted(named.faces, "face")} of group ${group} are now ${named.name}.${others}`;
    return { done, what: `group ${group} named`, back: () => ask("POST", "/v1/undo") };
  });
}

/** @param {number} group @param {boolean} ignored */
export function ignoreGroup(group, ignored) {
  const done = ignored ? `Group ${group} is ignored.` : `Group ${group} waits for a name again.`;
  const back = () => ask("POST", `/v1/groups/${group}/ignore`, { json: { ignored: !ignored } });
  return decide("ignore", group, { ignored }, () => ({
    done,
    what: `group ${group} ${ignored ? "ignored" : "back"}`,
    back,
  }));
}

/** Takes faces out of a group for good. @param {number} group @param {string[]} faces */
export function splitGroup(group, faces) {
  return decide("split", group, { faces }, (split) => {
    return { done: `${counted(faces.length, "face")} are now group ${split.group}.`, what: `group ${group} split` };
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
