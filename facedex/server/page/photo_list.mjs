// The photos on the page, and what the server says of each. The photos live in this page alone.

import { ask, formOf, Refusal } from "./api.mjs";
import { changes } from "./changes.mjs";
import { counted, reason } from "./wording.mjs";

/**
 * @typedef {{name: string, similarity: number, probability: number, logit: number}} Candidate
 * @typedef {{box: number[], score: number, name: string | null, probability: number, logit: number | null,
 *   candidates: Candidate[], reason: string | null, warning: string | null}} Face
 * @typedef {{faces: Face[], error: string | null, remark: string | null,
 *   decision: {threshold: number | null, people: number} | null, id: string | null,
 *   picture: {width: number, height: number, jpeg: string} | null}} Answer
 * @typedef {{file: File, url: string, drawable: boolean | null, size: {width: number, height: number} | null,
 *   id: string | null, answer: Answer | null, problem: string | null, stale: boolean, busy: boolean, lost: boolean}}
 *   Photo `drawable`: whether this browser draws the file; `size`: that of the photo where `url` is a smaller picture
 *   of it; `id`: by which the server knows its faces for a while; `stale`: its answer is to be asked for again; `lost`:
 *   it can never be used
 * @typedef {{photo: Photo, face: number, before: string | null, after: string | null}} Difference
 */

const AT_ONCE = 2; // photos that are sent at the same time
const TOGETHER = 500; // photos that are asked about in one question, once the server knows their faces
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
let running = 0; // questions
let again = false; // whether one of them is about photos that the server knows
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
    photos.push({
      file,
      url: URL.createObjectURL(file),
      drawable: null,
      size: null,
      id: null,
      answer: null,
      problem: null,
      stale: true,
      busy: false,
      lost: false,
    });
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
function lookAgain() {
  found = [];
  for (const photo of photos) photo.stale = !photo.lost;
  advance();
}

/** Begins as many questions as may run at once. */
function advance() {
  const open = photos.filter((photo) => photo.stale && !photo.busy);
  const known = open.filter((photo) => photo.id).slice(0, TOGETHER);
  if (known.length && !again) {
    again = true;
    look(known, () => askAgain(known)).finally(() => ((again = false), advance()));
  }
  for (const photo of open) {
    if (!photo.id && running - Number(again) < AT_ONCE) look([photo], () => send(photo)).finally(advance);
  }
  if (!running && !photos.some((photo) => photo.stale)) {
    differences = found;
    album.dispatchEvent(new Event("settled"));
  }
}

/**
 * Asks one question about photos, and takes its answers. A photo that the server has forgotten stays stale.
 * @param {Photo[]} some
 * @param {() => Promise<Answer[]>} question
 */
async function look(some, question) {
  running += 1;
  for (const photo of some) {
    photo.busy = true;
    photo.stale = false;
    tell(photo);
  }
  try {
    const answers = await question();
    some.forEach((photo, number) => take(photo, answers[number]));
  } catch (error) {
    for (const photo of some) {
      photo.answer = null;
      photo.problem = reason(error);
      photo.lost = error instanceof Refusal && error.code.startsWith("photo_");
    }
  }
  running -= 1;
  for (const photo of some) {
    photo.busy = false;
    tell(photo);
  }
}

/** Sends a photo, and asks for a picture of one that this browser cannot draw. @param {Photo} photo */
async function send(photo) {
  photo.drawable ??= await canDraw(photo.url);
  const query = { top: CANDIDATES, fpir, keep: true, picture: !photo.drawable };
  return (await ask("POST", "/v1/identify", { form: formOf([photo.file]), query })).photos;
}

/** Asks about photos whose faces the server knows, so that nothing is sent or decoded again. @param {Photo[]} known */
async function askAgain(known) {
  const json = { photos: known.map((photo) => photo.id) };
  return (await ask("POST", "/v1/identify", { json, query: { top: CANDIDATES, fpir } })).photos;
}

/** @param {Photo} photo @param {Answer} answer */
function take(photo, answer) {
  const forgotten = photo.id && !answer.id;
  photo.id = answer.id;
  if (forgotten) return void (photo.stale = photos.includes(photo));
  found.push(...compared(answer, photo));
  photo.answer = answer;
  photo.problem = null;
  if (answer.picture && !photo.size && photos.includes(photo)) {
    const { width, height, jpeg } = answer.picture;
    URL.revokeObjectURL(photo.url);
    const bytes = Uint8Array.from(atob(jpeg), (letter) => letter.charCodeAt(0));
    photo.url = URL.createObjectURL(new Blob([bytes], { type: "image/jpeg" }));
    photo.size = { width, height };
    answer.picture = null; // the page holds it once
  }
}

/** Whether this browser can draw a picture. @param {string} url @returns {Promise<boolean>} */
function canDraw(url) {
  return new Promise((resolve) => {
    const probe = new Image();
    probe.onload = () => resolve(true);
    probe.onerror = () => resolve(false);
    probe.src = url;
  });
}

/**
 * The faces whose names changed.
 * @param {Answer} answer
 * @param {Photo} photo with its former answer
 * @returns {Difference[]}
 */
function compared(answer, photo) {
  const before = photo.answer;
  if (!before) return [];
  return answer.faces.flatMap((face, number) => {
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
