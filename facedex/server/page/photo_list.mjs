// The photos on the page, and what the server says of each. The photos live in this page alone.

import { ask, formOf } from "./api.mjs";
import { changes } from "./changes.mjs";
import { counted } from "./wording.mjs";

/**
 * @typedef {{name: string, similarity: number, probability: number, logit: number}} Candidate
 * @typedef {{box: number[], score: number, name: string | null, probability: number, logit: number | null,
 *   candidates: Candidate[], reason: string | null, warning: string | null}} Face
 * @typedef {{faces: Face[], error: string | null, remark: string | null,
 *   decision: {threshold: number | null, people: number} | null}} Answer
 * @typedef {{file: File, url: string, answer: Answer | null, problem: string | null, stale: boolean, busy: boolean}}
 *   Photo `stale`: its answer is to be asked for again
 * @typedef {{photo: Photo, face: number, before: string | null, after: string | null}} Difference
 */

const AT_ONCE = 2; // photos that are asked about at the same time
const CANDIDATES = 5;
const NAMES = /\.(jpe?g|png|webp|gif|bmp|tiff?|heic|heif|avif|jp2|dng|cr2|cr3|nef|arw|orf|rw2|raf)$/i;

/** @type {Photo[]} */
export const photos = [];

/** Sends `photos` when the list changed, `photo` (detail: the photo) when one did, and `settled` when all are done. */
export const album = new EventTarget();

/** What the last look changed, against the look before. @type {Difference[]} */
export let differences = [];

/** Share of strangers who may be named. */
let fpir = 0.01;
let running = 0;
/** @type {Difference[]} */
let found = [];

changes.addEventListener("change", (event) => {
  if (/** @type {CustomEvent} */ (event).detail.what !== "library") lookAgain();
});

/** The share of strangers who may be named. */
export function falseAlarms() {
  return fpir;
}

/** Sets the share of strangers who may be named, and looks at all photos again. @param {number} share */
export function setFalseAlarms(share) {
  fpir = share;
  lookAgain();
}

/**
 * Adds photos; returns those files that are none.
 * @param {Iterable<File>} files
 * @returns {File[]}
 */
export function add(files) {
  const others = [];
  for (const file of files) {
    if (!file.type.startsWith("image/") && !NAMES.test(file.name)) {
      others.push(file);
      continue;
    }
    const photo = { file, url: URL.createObjectURL(file), answer: null, problem: null, stale: true, busy: false };
    photos.push(photo);
  }
  album.dispatchEvent(new Event("photos"));
  advance();
  return others;
}

/** Takes a photo off the page. @param {Photo} photo */
export function takeOff(photo) {
  const at = photos.indexOf(photo);
  if (at < 0) return;
  photos.splice(at, 1);
  photo.stale = false;
  URL.revokeObjectURL(photo.url);
  differences = differences.filter((one) => one.photo !== photo);
  album.dispatchEvent(new Event("photos"));
}

/** Takes all photos off the page. */
export function takeOffAll() {
  for (const photo of photos.splice(0)) {
    photo.stale = false;
    URL.revokeObjectURL(photo.url);
  }
  differences = found = [];
  album.dispatchEvent(new Event("photos"));
}

/** Asks about every photo again, since the gallery or the rate has changed. */
export function lookAgain() {
  found = [];
  for (const photo of photos) photo.stale = true;
  advance();
}

/** Begins as many questions as may run at once. */
function advance() {
  for (const photo of photos) {
    if (running >= AT_ONCE) return;
    if (photo.stale && !photo.busy) identify(photo);
  }
  if (!running && !photos.some((photo) => photo.stale)) {
    differences = found;
    album.dispatchEvent(new Event("settled"));
  }
}

/** @param {Photo} photo */
async function identify(photo) {
  running += 1;
  photo.busy = true;
  photo.stale = false;
  tell(photo);
  const before = photo.answer;
  try {
    const answer = await ask("POST", "/v1/identify", {
      form: formOf([photo.file]),
      query: { top: CANDIDATES, fpir },
    });
    photo.answer = answer.photos[0];
    photo.problem = null;
    found.push(...compared(photo, before));
  } catch (error) {
    photo.answer = null;
    photo.problem = error instanceof Error ? error.message : String(error);
  }
  photo.busy = false;
  running -= 1;
  tell(photo);
  advance();
}

/**
 * The faces whose names changed.
 * @param {Photo} photo
 * @param {Answer | null} before
 * @returns {Difference[]}
 */
function compared(photo, before) {
  if (!before) return [];
  return photo.answer.faces.flatMap((face, number) => {
    const former = before.faces[number]?.name ?? null;
    return former === face.name ? [] : [{ photo, face: number, before: former, after: face.name }];
  });
}

/** @param {Photo} photo */
function tell(photo) {
  album.dispatchEvent(new CustomEvent("photo", { detail: photo }));
}

/** What the page shows, in a sentence. */
export function summary() {
  const faces = photos.flatMap((photo) => photo.answer?.faces ?? []);
  const named = faces.filter((face) => face.name).length;
  const all = `${counted(photos.length, "photo")}, ${counted(faces.length, "face")}`;
  return `${all}, ${named.toLocaleString("en")} with a name.`;
}
