// What a user decides about a group of scanned faces.

import { ask } from "./api.mjs";
import { changed } from "./changes.mjs";
import { rememberLogged } from "./undoing.mjs";
import { counted } from "./wording.mjs";

/** Names all faces of a group. @param {number} group @param {string} name */
export async function nameGroup(group, name) {
  const named = await ask("POST", `/v1/groups/${group}/name`, { json: { name } });
  const others = named.others ? ` ${counted(named.others, "face")} of the group belong to somebody else.` : "";
  const done = `${counted(named.faces, "face")} of group ${group} are now ${named.name}.${others}`;
  await rememberLogged(done, `group ${group} named`, () => ask("POST", "/v1/undo"));
  changed("groups");
}

/** @param {number} group @param {boolean} ignored */
export async function ignoreGroup(group, ignored) {
  await ask("POST", `/v1/groups/${group}/ignore`, { json: { ignored } });
  const back = () => ask("POST", `/v1/groups/${group}/ignore`, { json: { ignored: !ignored } });
  const done = ignored ? `Group ${group} is ignored.` : `Group ${group} waits for a name again.`;
  await rememberLogged(done, `group ${group} ${ignored ? "ignored" : "taken back"}`, back);
  changed("groups");
}

/** Takes faces out of a group for good. @param {number} group @param {string[]} faces */
export async function splitGroup(group, faces) {
  const split = await ask("POST", `/v1/groups/${group}/split`, { json: { faces } });
  const done = `${counted(faces.length, "face")} are now group ${split.group}.`;
  await rememberLogged(done, `group ${group} split`, null);
  changed("groups");
}

/** Makes two groups one. @param {number} group the one that goes @param {number} into */
export async function joinGroups(group, into) {
  await ask("POST", `/v1/groups/${group}/merge`, { json: { into } });
  await rememberLogged(`Group ${group} is part of group ${into}.`, `group ${group} joined`, null);
  changed("groups");
}

/** Says that faces are none. @param {number} group @param {string[]} faces */
export async function markNoFaces(group, faces) {
  await ask("POST", `/v1/groups/${group}/not-a-face`, { json: { faces } });
  const done = `${counted(faces.length, "picture")} will not count as a face.`;
  await rememberLogged(done, `no face in group ${group}`, null);
  changed("groups");
}
