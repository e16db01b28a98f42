// A dialog that shows the whole photo of a face, with the face's box.

import { open } from "./dialogs.mjs";
import { fill, make } from "./dom.mjs";
import { place } from "./pictures.mjs";
import { fileName } from "./wording.mjs";

/**
 * @param {string} face its id
 * @param {string | null} path of the photo, to be shown
 * @param {number[]} box in pixels of the upright photo
 */
export function showPhoto(face, path, box) {
  const stage = make("div", { class: "stage" });
  const figure = make("figure", {}, stage, make("figcaption", { class: "hint" }, path ?? ""));
  let url = "";
  load(face, path, box).then(
    (found) => {
      url = found.url;
      fill(stage, found.children);
    },
    (error) => fill(stage, make("p", { class: "unseen" }, error.message)),
  );
  open(fileName(path), () => [figure], { kind: "wide" }).then(() => URL.revokeObjectURL(url));
}

/**
 * The photo may be smaller than the one that the box counts in, so its headers give the size of that one.
 * @param {string} face
 * @param {string | null} path
 * @param {number[]} box
 */
async function load(face, path, box) {
  const answer = await fetch(`/v1/faces/${encodeURIComponent(face)}/photo`);
  if (!answer.ok) throw new Error((await answer.json()).error.message);
  const width = Number(answer.headers.get("X-Photo-Width"));
  const height = Number(answer.headers.get("X-Photo-Height"));
  const url = URL.createObjectURL(await answer.blob());
  const mark = make("div", { class: "box named", "aria-hidden": "true" });
  place(mark, box, { width, height });
  const image = make("img", { src: url, alt: `The photo ${fileName(path)}` });
  return { url, children: [make("div", { class: "fit" }, image, mark)] };
}
