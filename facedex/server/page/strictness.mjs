// The slider of the false-alarm rate, with the threshold that it stands for.

import { ask } from "./api.mjs";
import { changes } from "./changes.mjs";
import { fill, labelled, make } from "./dom.mjs";
import { album, differences, falseAlarms, photos, setFalseAlarms } from "./photo_list.mjs";
import { counted, oneIn, rate } from "./wording.mjs";

const LEAST = -4; // powers of ten: 1 in 10,000 strangers
const MOST = -0.7; // 1 in 5
const STEP = 0.1;

/** @returns {HTMLElement} */
export function strictness() {
  const slider = make("input", {
    type: "range",
    min: LEAST,
    max: MOST,
    step: STEP,
    value: Math.log10(falseAlarms()),
  });
  const meaning = make("output", { class: "meaning", for: (slider.id = "strictness") });
  const effect = make("div", { class: "effect", role: "status" });
  const share = () => 10 ** Number(slider.value);
  let asked = 0;

  async function explain() {
    const chosen = share();
    slider.setAttribute("aria-valuetext", `${oneIn(chosen)} strangers may get a name`);
    const number = (asked += 1);
    const decision = await ask("GET", "/v1/threshold", { query: { fpir: chosen } }).catch(() => null);
    if (number === asked) fill(meaning, words(chosen, decision));
  }

  let timer = 0;
  slider.addEventListener("input", () => {
    explain();
    clearTimeout(timer);
    timer = setTimeout(() => setFalseAlarms(share()), 300); // while it moves, photos are not asked about
  });
  album.addEventListener("settled", () => fill(effect, differenceList()));
  album.addEventListener("photos", () => photos.length || fill(effect));
  changes.addEventListener("change", explain);
  explain();
  return make(
    "section",
    { class: "strictness", "aria-label": "Strictness" },
    labelled("How many strangers may get a wrong name?", slider),
    make("div", { class: "ends", "aria-hidden": "true" }, make("span", {}, "fewest"), make("span", {}, "most")),
    meaning,
    effect,
  );
}

/**
 * @param {number} share
 * @param {any} decision an answer of /v1/threshold, or null
 */
function words(share, decision) {
  const first = `${oneIn(share)} strangers may get a name.`;
  if (!decision) return first;
  if (decision.threshold === null || !decision.people) return `${first} Nobody is enrolled, so nobody gets a name.`;
  const { threshold, fpir_low: low, fpir_high: high, people } = decision;
  const interval = low === null || high === null ? "" : ` The true share is probably ${rate(low)} to ${rate(high)}.`;
  const among = counted(people, "person", "people");
  return `${first} A name needs a score of ${threshold.toFixed(2)} among ${among}.${interval}`;
}

/** What the last look changed. */
function differenceList() {
  if (!differences.length) return null;
  const shown = differences.slice(0, 8);
  const rest = differences.length - shown.length;
  return [
    make("p", {}, `${counted(differences.length, "name")} changed:`),
    make(
      "ul",
      {},
      shown.map(({ photo, face, before, after }) =>
        make("li", {}, `${photo.file.name}, face ${face + 1}: ${before ?? "unknown"} → ${after ?? "unknown"}`),
      ),
      rest > 0 && make("li", {}, `and ${rest} more`),
    ),
  ];
}
