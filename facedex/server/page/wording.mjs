// Numbers and dates as words.

/** @param {number} count @param {string} noun @param {string} [plural] */
export function counted(count, noun, plural = `${noun}s`) {
  return `${count.toLocaleString("en")} ${count === 1 ? noun : plural}`;
}

/** The verb for so many. @param {number} count */
export function are(count) {
  return count === 1 ? "is" : "are";
}

/** What an error says. @param {unknown} error */
export function reason(error) {
  return error instanceof Error ? error.message : String(error);
}

const FROM_RIGHT = /[\u0590-\u08ff\u200e\u200f\u202a-\u202e\u2066-\u2069\ufb1d-\ufdff\ufe70-\ufefc]/;

/**
 * A name for a sentence. One that is written from the right must not turn the words after it.
 * @param {string} name
 */
export function inSentence(name) {
  return FROM_RIGHT.test(name) ? `\u2068${name}\u2069` : name; // first strong isolate, pop directional isolate
}

/**
 * A probability in whole per cent. Nothing is certain, so none is shown as 0 % or 100 %.
 * @param {number} value
 */
export function percent(value) {
  if (value < 0.01) return "< 1 %";
  if (value > 0.99) return "> 99 %";
  return `${Math.round(100 * value)} %`;
}

/** A probability in words. @param {number} value */
export function certainty(value) {
  if (value > 0.99) return "almost certainly";
  return `with a probability of ${percent(value)}`;
}

/** A small rate in per cent, to two figures. @param {number} rate */
export function rate(rate) {
  return `${Number((100 * rate).toPrecision(2)).toLocaleString("en")} %`;
}

/** A rate as one in so many. @param {number} rate */
export function oneIn(rate) {
  const many = 1 / rate;
  return `1 in ${Number(many.toPrecision(many < 10 ? 1 : 2)).toLocaleString("en")}`;
}

/** A day, from a time in ISO 8601. @param {string | null} time */
export function day(time) {
  const date = new Date(time ?? "");
  if (Number.isNaN(date.valueOf())) return "";
  return date.toLocaleDateString("en-GB", { day: "numeric", month: "long", year: "numeric" });
}

/** A day and the time of day here, from a time in ISO 8601. @param {string} time */
export function moment(time) {
  const options = /** @type {const} */ ({ day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  return new Date(time).toLocaleString("en-GB", options);
}

/** The last part of a path. A photo that was added here has no path. @param {string | null} path */
export function fileName(path) {
  if (path?.startsWith("memory:")) return `added photo ${path.slice(7, 13)}`;
  return (path ?? "").replace(/\/+$/, "").split(/[/\\]/).pop() || "photo";
}

/** A number of bytes. @param {number} bytes */
export function size(bytes) {
  const units = ["bytes", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${unit && bytes < 10 ? bytes.toFixed(1) : Math.round(bytes)} ${units[unit]}`;
}

/** A sentence: a capital first, unless it begins with a file's name, and a full stop. @param {string | null} text */
export function sentence(text) {
  if (!text) return "";
  const begun = /^[a-z]+[ ,;]/.test(text) ? text[0].toUpperCase() + text.slice(1) : text;
  return /[.!?]$/.test(begun) ? begun : `${begun}.`;
}
