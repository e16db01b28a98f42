// Cuts faces from the browser's own copy of a photo.

import { make } from "./dom.mjs";

const MARGIN = 1.5; // sides of the picture over the longer side of the face's box

/**
 * A picture of a face. It stays empty until the photo is decoded, and where the browser cannot decode it.
 * @param {HTMLImageElement} image
 * @param {number[]} box left, top, width, height in pixels of the upright photo
 * @param {number} side of the picture in pixels
 * @returns {HTMLCanvasElement}
 */
export function faceCrop(image, box, side) {
  const canvas = make("canvas", { class: "crop", width: side, height: side, "aria-hidden": "true" });
  const draw = () => {
    const { naturalWidth: width, naturalHeight: height } = image;
    if (!width) return;
    const cut = Math.min(width, height, MARGIN * Math.max(box[2], box[3]));
    const left = Math.min(Math.max(0, box[0] + box[2] / 2 - cut / 2), width - cut);
    const top = Math.min(Math.max(0, box[1] + box[3] / 2 - cut / 2), height - cut);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, left, top, cut, cut, 0, 0, side, side);
  };
  if (image.complete) draw();
  else image.addEventListener("load", draw, { once: true });
  return canvas;
}
