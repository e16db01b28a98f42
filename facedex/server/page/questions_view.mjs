// Questions about scanned faces, answered with y or n.

import { ask } from "./api.mjs";
import { changed } from "./changes.mjs";
import { button, fill, make } from "./dom.mjs";
import { picture } from "./pictures.mjs";
import { attempt } from "./notices.mjs";
import { makeLogged, undoLast } from "./undoing.mjs";
import { counted, fileName, percent } from "./wording.mjs";

/**
 * @typedef {{id: string, one: Side, other: Side, person: string | null, faces: number, probability: number}} Question
 */
/** @typedef {{crop: string, photo: string | null}} Side */

/** What keys do while the view is open. @type {{stage: HTMLElement, keys: Record<string, () => void>} | null} */
let shown = null;
document.addEventListener("keydown", (event) => {
  if (!shown?.stage.isConnected || event.target instanceof HTMLInputElement) return;
  if (!event.ctrlKey && !event.metaKey && !event.altKey) shown.keys[event.key.toLowerCase()]?.();
});

/** @returns {Promise<any>} */
export async function questionsView() {
  const stage = make("section", { class: "question", "aria-live": "polite" });
  /** @type {Question | null} */
  let question = null;
  let busy = false;

  async function next() {
    const { questions, total } = await ask("GET", "/v1/questions", { query: { limit: 1 } });
    question = questions[0] ?? null;
    fill(stage, question ? asking(question, total, answer) : noQuestion());
  }

  /** @param {boolean | null} same */
  async function answer(same) {
    if (!question || busy) return;
    busy = true;
    const asked = question;
    await attempt(async () => {
      const send = () => ask("POST", `/v1/questions/${encodeURIComponent(asked.id)}`, { json: { same } });
      if (same === null) await send();
      else
        await makeLogged(send, () => ({
          done: same ? "Yes, one person." : "No, two people.",
          what: "the last answer",
        }));
      changed("groups");
    });
    await attempt(next);
    busy = false;
  }

  shown = {
    stage,
    keys: {
      y: () => answer(true),
      n: () => answer(false),
      s: () => answer(null),
      u: () => undoLast().then(next),
    },
  };
  await next();
  return { title: "One person?", content: [stage], back: { text: "Library", to: "#/library" }, still: true };
}

/** @param {Question} question @param {number} total @param {(same: boolean | null) => void} answer */
function asking(question, total, answer) {
  const who = question.person ? `Is this ${question.person}?` : "Do both show one person?";
  return [
    make("p", { class: "lead" }, who),
    make("div", { class: "pair" }, side(question.one), side(question.other)),
    make(
      "p",
      { class: "hint" },
      `A yes concerns ${counted(question.faces, "face")}. Likely by ${percent(question.probability)}.`,
    ),
    make(
      "div",
      { class: "actions" },
      button("Yes (y)", () => answer(true), { class: "primary", "aria-keyshortcuts": "y" }),
      button("No (n)", () => answer(false), { "aria-keyshortcuts": "n" }),
      button("Skip (s)", () => answer(null), { class: "quiet", "aria-keyshortcuts": "s" }),
    ),
    make("p", { class: "hint" }, `${counted(total, "question")} open. The key u takes the last answer back.`),
  ];
}

/** @param {Side} side */
function side(side) {
  const name = fileName(side.photo);
  return make(
    "figure",
    {},
    picture(side.crop, `Face in ${name}`, { kind: "portrait" }),
    make("figcaption", { title: side.photo }, name),
  );
}

function noQuestion() {
  return [
    make("p", { class: "lead" }, "No question is open."),
    make("p", {}, "New ones come after a scan, and when groups have names."),
  ];
}
