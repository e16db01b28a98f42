// Enrolls people by faces and by photos, in a way that can be undone.

import { ask, formOf } from "./api.mjs";
import { changed } from "./changes.mjs";
import { notice } from "./notices.mjs";
import { keepOwn } from "./pictures.mjs";
import { makeLogged, remember } from "./undoing.mjs";
import { counted, inSentence, sentence } from "./wording.mjs";

/**
 * Gives a face of a photo a name, new or known.
 * @param {File} file
 * @param {number} number of the face, from 1
 * @param {string} name
 * @param {HTMLCanvasElement} crop a picture of the face
 */
export async function nameFace(file, number, name, crop) {
  const fields = { name, face: String(number) };
  const { person, photos } = await enroll("/v1/people", [file], fields, "this face").catch((error) => {
    if (!error.details?.face) throw error;
    return correct(error.details, name);
  });
  if (person && photos[0].face) keepOwn([person.crop, `/v1/faces/${photos[0].face}/crop`], crop);
}

/**
 * Gives an enrolled face to another person.
 * @param {{person: number, name: string, face: string}} former whose face it is so far
 * @param {string} name
 */
async function correct(former, name) {
  const { person } = await makeLogged(
    () => ask("PATCH", `/v1/people/${former.person}/faces/${former.face}`, { json: { name } }),
    (now) => ({
      done: `This face is ${inSentence(now.person.name)} now, and ${inSentence(former.name)} no longer.`,
      what: `${inSentence(now.person.name)} corrected`,
    }),
  );
  changed("people");
  return { person, photos: [{ face: former.face }] };
}

/**
 * Enrolls photos of a new or a known person, by the most prominent face of each.
 * @param {string} path /v1/people, or that of a person's faces
 * @param {File[]} files
 * @param {Record<string, string>} fields
 * @param {string} [by] by what, in words
 * @returns {Promise<any>} the server's answer
 */
export async function enroll(path, files, fields, by) {
  const answer = await ask("POST", path, { form: formOf(files, fields) });
  changed("people");
  const fresh = answer.photos.filter((/** @type {any} */ photo) => photo.status === "enrolled");
  const { person } = answer;
  if (!fresh.length || !person) {
    if (answer.photos.length === 1) notice(sentence(answer.photos[0].reason ?? "Nothing was enrolled"));
    return answer;
  }
  const remark = fresh.length === 1 && fresh[0].reason ? ` ${sentence(fresh[0].reason)}` : "";
  const faces = fresh.map((/** @type {any} */ photo) => photo.face).filter(Boolean);
  const name = inSentence(person.name);
  const done = `${name} is enrolled by ${by ?? counted(fresh.length, "photo")}.${remark}`;
  remember(done, { what: `${name} enrolled`, back: () => takeBack(person.id, faces) });
  return answer;
}

/** @param {number} person @param {string[]} faces */
async function takeBack(person, faces) {
  for (const face of faces) await ask("DELETE", `/v1/people/${person}/faces/${face}`);
}
