// The view of one group: all its faces, to be named, split, joined or left out.

import { ask } from "./api.mjs";
import { button, fill, form, labelled, make } from "./dom.mjs";
import { picture } from "./pictures.mjs";
import { ignoreGroup, joinGroups, markNoFaces, nameGroup, splitGroup } from "./group_decisions.mjs";
import { longList } from "./long_list.mjs";
import { attempt } from "./notices.mjs";
import { nameField } from "./people.mjs";
import { mayChange } from "./session.mjs";
import { counted, fileName } from "./wording.mjs";
import { showPhoto } from "./whole_photo.mjs";

const PART = 200; // faces shown at a time

/** The faces that are chosen. They stay so when a change elsewhere draws the view anew. */
let selection = { group: 0, faces: /** @type {Set<string>} */ (new Set()) };

/** @param {{id: string}} view */
export async function groupView({ id }) {
  const group = Number(id);
  const first = await ask("GET", `/v1/groups/${encodeURIComponent(id)}/faces`, { query: { limit: PART } });
  if (selection.group !== group) selection = { group, faces: new Set() };
  const chosen = selection.faces;
  const tools = mayChange() && selectionTools(group, chosen, first.total);
  const next = (/** @type {string} */ cursor) =>
    ask("GET", `/v1/groups/${group}/faces`, { query: { limit: PART, cursor } });
  const list = longList({ class: "shots", "aria-label": "Faces" }, first, next, (part) => part.faces.map(row));

  /** @param {any} face */
  function row(face) {
    const name = fileName(face.photo);
    const box = make("input", {
      type: "checkbox",
      "aria-label": `Choose the face in ${name}`,
      checked: chosen.has(face.id),
    });
    box.addEventListener("change", () => {
      if (box.checked) chosen.add(face.id);
      else chosen.delete(face.id);
      if (tools) tools.show();
    });
    return make(
      "li",
      { class: "shot" },
      make("label", { class: "pick" }, mayChange() && box, picture(face.crop, `Face in ${name}`)),
      button(name, () => showPhoto(face.id, face.photo, face.box), {
        class: "quiet small path",
        title: face.photo ?? name,
      }),
    );
  }

  const content = [
    make("p", { class: "lead" }, `${counted(first.total, "face")} without a name, the clearest first.`),
    mayChange() && wholeGroup(group),
    tools && tools.element,
    list.elements,
  ];
  const back = { text: "Library", to: "#/library" };
  return { title: `Group ${group}`, content: content.flat().filter(Boolean), back };
}

/** @param {Promise<unknown>} work */
async function thenBack(work) {
  if ((await attempt(() => work.then(() => true))) === true) location.hash = "#/library";
}

/** @param {number} group */
function wholeGroup(group) {
  const { element, name } = nameField("Who is this?");
  const nameAll = () => thenBack(nameGroup(group, name()));
  return make(
    "div",
    { class: "tools" },
    form("line", nameAll, element, make("button", { type: "submit", class: "primary" }, "Name all")),
    joining(group),
    button("Ignore this group", () => thenBack(ignoreGroup(group, true)), { class: "quiet" }),
  );
}

/** @param {number} group */
function joining(group) {
  const field = make("input", { type: "number", min: 1, required: true, class: "short" });
  const join = () => thenBack(joinGroups(group, Number(field.value)));
  return form("line", join, labelled("Same person as group", field), make("button", { type: "submit" }, "Join"));
}

/**
 * What can be done with the faces that are chosen.
 * @param {number} group
 * @param {Set<string>} chosen
 * @param {number} total
 */
function selectionTools(group, chosen, total) {
  const line = make("span", { class: "state", role: "status" });
  /** @param {(group: number, faces: string[]) => Promise<void>} decide */
  const decided = (decide) => () =>
    attempt(async () => {
      const faces = [...chosen];
      chosen.clear(); // before the view is drawn anew
      await decide(group, faces);
    });
  const split = button("Another person", decided(splitGroup));
  const none = button("Not a face", decided(markNoFaces));
  function show() {
    fill(line, chosen.size ? `${counted(chosen.size, "face")} chosen.` : "Choose faces that do not belong here.");
    split.disabled = !chosen.size || chosen.size === total;
    none.disabled = !chosen.size;
  }
  show();
  return { element: make("div", { class: "tools sticky" }, line, split, none), show };
}
