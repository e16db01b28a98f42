// Cuts faces from the browser's own copy of a photo.

import { make } from "./dom.mjs";

const MARGIN = 1.5; // sides of the picture over the longer side of the face's box

/**
 * A picture of a face. It stays empty until the photo is decoded, and where the browser cannot decode it.
 * @param {HTMLImageElement} image
 * @param {number[]} box left, top, width, height in pixels of the upright photo
 * @param {number} side of the picture in pixels
 * @param {{width: number} | null} photo the photo itself, where the image is a smaller one
 * @returns {HTMLCanvasElement}
 */
export function faceCrop(image, box, side, photo) {
  const canvas = make("canvas", { class: "crop", width: side, height: side, "aria-hidden": "true" });
  const draw = () => {
    const { naturalWidth: width, naturalHeight: height } = image;
    if (!width) return;
    const [x, y, wide, high] = box.map((value) => value * (photo ? width / photo.width : 1));
    const cut = Math.min(width, height, MARGIN * Math.max(wide, high));
    const left = Math.min(Math.max(0, x + wide / 2 - cut / 2), width - cut);
    const top = Math.min(Math.max(0, y + high / 2 - cut / 2), height - cut);
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, left, top, cut, cut, 0, 0, side, side);
  };
  if (image.complete) draw();
  else image.addEventListener("load", draw, { once: true });
  return canvas;
}
