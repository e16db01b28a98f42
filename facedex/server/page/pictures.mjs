// Pictures of faces: the server's, or those that this page cut itself from a photo that is open here.

import { make } from "./dom.mjs";

/** Pictures of faces that this page enrolled, by the server's path. A server keeps none unless it is told to. */
const own = new Map();

/**
 * Keeps a picture of a face that was enrolled here, for as long as the page is open.
 * @param {string[]} paths
 * @param {HTMLCanvasElement} crop
 */
export function keepOwn(paths, crop) {
  crop.toBlob((blob) => {
    if (!blob) return;
    const url = URL.createObjectURL(blob);
    for (const path of paths) if (!own.has(path)) own.set(path, url);
  });
}

/**
 * A picture from the server. Where there is none, a frame keeps its place.
 * @param {string | null} source
 * @param {string} alt what it shows; empty where a text beside it says so
 * @param {{kind?: string, name?: string}} [look] a class, and the name whose first letter a frame shows
 */
export function picture(source, alt, look = {}) {
  const { kind = "crop", name = "" } = look;
  if (!source) return frame(alt, kind, name);
  const image = make("img", { class: kind, src: source, alt, loading: "lazy", decoding: "async" });
  const missing = () => {
    if (own.has(source) && image.getAttribute("src") === source) image.src = own.get(source);
    else image.replaceWith(frame(alt, kind, name));
  };
  image.addEventListener("error", missing);
  return image;
}

/**
 * Puts a mark on a photo where a box says.
 * @param {HTMLElement} mark
 * @param {number[]} box left, top, width, height in pixels of the photo
 * @param {{width: number, height: number}} photo
 */
export function place(mark, [left, top, width, height], photo) {
  mark.style.left = `${(100 * left) / photo.width}%`;
  mark.style.top = `${(100 * top) / photo.height}%`;
  mark.style.width = `${(100 * width) / photo.width}%`;
  mark.style.height = `${(100 * height) / photo.height}%`;
}

/** @param {string} alt @param {string} kind @param {string} name */
function frame(alt, kind, name) {
  const label = alt ? { role: "img", "aria-label": `${alt}: no picture is left` } : { "aria-hidden": "true" };
  return make("span", { class: `${kind} gone`, ...label }, [...name.trim()][0]?.toUpperCase());
}
