// The view of the scanned library: the scan, and groups of faces that have no name.

import { ask } from "./api.mjs";
import { changed, changes } from "./changes.mjs";
import { button, fill, form, make } from "./dom.mjs";
import { picture } from "./pictures.mjs";
import { ignoreGroup, nameGroup } from "./group_decisions.mjs";
import { longList } from "./long_list.mjs";
import { attempt } from "./notices.mjs";
import { nameField } from "./people.mjs";
import { mayChange, told } from "./session.mjs";
import { are, counted, inSentence } from "./wording.mjs";

const PART = 30; // groups shown at a time
const CROPS = 5; // of a group

let ignored = false;

/** @param {{again: () => void}} view */
export async function libraryView(view) {
  const [scan, groups] = await Promise.all([
    ask("GET", "/v1/scan"),
    ask("GET", "/v1/groups", { query: { limit: PART, ignored } }),
  ]);
  const content = [scanPart(scan, view.again), groups.total || ignored ? groupPart(groups, view.again) : empty(scan)];
  return { title: "Your photo library", content };
}

/** @param {any} scan @param {() => void} again */
function scanPart(scan, again) {
  const line = make("p", { class: "state", role: "status" });
  const bar = make("progress", { "aria-label": "Progress of the scan" });
  const start = button("Scan the folders", () => attempt(async () => show(await ask("POST", "/v1/scan"))), {
    class: "primary",
  });
  const stop = button("Stop", () => attempt(async () => show(await ask("DELETE", "/v1/scan"))));
  const part = make(
    "section",
    { class: "scan", "aria-label": "Scan" },
    line,
    bar,
    make("div", { class: "actions" }, start, stop),
  );

  /** @param {any} progress */
  function show(progress) {
    const runs = progress.state === "running";
    fill(line, scanWords(progress));
    line.classList.toggle("fault", progress.state === "failed");
    bar.hidden = stop.hidden = !runs;
    start.hidden = runs || !progress.folders.length || !mayChange();
    stop.hidden ||= !mayChange();
    if (progress.photos) bar.max = progress.photos;
    if (progress.photos) bar.value = progress.done;
  }

  let was = scan.state;
  const hear = (/** @type {any} */ event) => {
    if (!part.isConnected) return changes.removeEventListener("scan", hear);
    show(event.detail);
    if (was === "running" && event.detail.state !== "running") again();
    was = event.detail.state;
  };
  changes.addEventListener("scan", hear);
  show(scan);
  part.hidden = !scan.folders.length && scan.state === "never";
  return part;
}

/** @param {any} scan */
function scanWords(scan) {
  const folders = scan.folders.join(", ");
  const { photos, faces } = told().library;
  const held = photos
    ? `${counted(photos, "photo")} with ${counted(faces, "face")} ${are(photos)} scanned.`
    : "Nothing is scanned yet.";
  if (scan.state === "running") {
    return scan.photos
      ? `Scan: ${scan.done} of ${counted(scan.photos, "photo")}, ${counted(scan.faces, "face")}.`
      : "Looking for photos …";
  }
  if (scan.state === "failed") return `The scan failed: ${scan.error}.`;
  if (scan.state === "never") return `${held} Folders: ${folders}`;
  const skipped = scan.skipped ? ` ${counted(scan.skipped, "photo")} could not be read.` : "";
  const gone = scan.gone ? ` ${counted(scan.gone, "photo")} ${are(scan.gone)} gone.` : "";
  const ending = scan.state === "done" ? "is done" : "was stopped";
  return `The scan ${ending}: ${counted(scan.done, "photo")}.${skipped}${gone}`;
}

/** @param {any} scan */
function empty(scan) {
  const { faces } = told().library;
  const grouping = make("p", {}, "Every scanned face has a name, or the faces are not grouped yet.");
  const steps = make(
    "ol",
    { class: "steps" },
    make(
      "li",
      {},
      scan.folders.length
        ? "Scan the folders above."
        : "Stop the server, and start it with facedex serve --scan FOLDER.",
    ),
    make("li", {}, "Group the faces. Each group is probably one person."),
    make("li", {}, "Name the groups, the largest first. Every photo of the person is found from then on."),
  );
  return make(
    "section",
    { class: "empty" },
    make("p", { class: "lead" }, faces ? "No group waits for a name." : "No photo library is scanned yet."),
    faces ? grouping : steps,
    faces && mayChange() ? groupButton() : null,
  );
}

function groupButton() {
  const press = (/** @type {any} */ event) => {
    event.target.disabled = true;
    attempt(async () => {
      await ask("POST", "/v1/groups", { query: { limit: 1 } });
      changed("groups");
    }).finally(() => (event.target.disabled = false));
  };
  return button("Group the faces", press);
}

/** @param {any} first @param {() => void} again */
function groupPart(first, again) {
  const next = (/** @type {string} */ cursor) =>
    ask("GET", "/v1/groups", { query: { limit: PART, ignored, cursor } });
  const list = longList({ class: "groups", "aria-label": "Groups" }, first, next, (part) => part.groups.map(card));
  const toggle = make("input", { type: "checkbox", id: "ignored", checked: ignored });
  toggle.addEventListener("change", () => {
    ignored = toggle.checked;
    again();
  });
  return make(
    "section",
    {},
    make("h2", {}, "Groups without a name"),
    make("p", { class: "hint" }, `${counted(first.total, "group")}, the largest first. Each is probably one person.`),
    make(
      "div",
      { class: "tools" },
      mayChange() && make("a", { class: "key", href: "#/library/questions" }, "Answer questions"),
      mayChange() && groupButton(),
      make("span", { class: "check" }, toggle, make("label", { for: "ignored" }, "Show ignored groups")),
    ),
    list.elements,
  );
}

/** @param {any} group */
function card(group) {
  const crops = group.crops.slice(0, CROPS).map((/** @type {string} */ crop) => picture(crop, ""));
  return make(
    "li",
    { class: group.ignored ? "group ignored" : "group" },
    make(
      "a",
      { class: "group-faces", href: `#/library/${group.group}` },
      make("span", { class: "strip" }, crops),
      make("span", { class: "name" }, `Group ${group.group}`),
      make("span", { class: "hint" }, groupWords(group)),
    ),
    mayChange() && naming(group),
  );
}

/** @param {any} group */
function groupWords(group) {
  const size = `${counted(group.faces, "face")} in ${counted(group.photos, "photo")}`;
  return [size, group.resembles && `resembles ${inSentence(group.resembles)}`, group.ignored && "ignored"]
    .filter(Boolean)
    .join(", ");
}

/** @param {any} group */
function naming(group) {
  const field = { value: group.resembles ?? "", "aria-label": `Name of group ${group.group}` };
  const { element, name } = nameField("Name", undefined, field);
  const send = () => attempt(() => nameGroup(group.group, name()));
  const ignore = () => attempt(() => ignoreGroup(group.group, !group.ignored));
  return form(
    "line",
    send,
    element,
    make("button", { type: "submit", "aria-label": `Name group ${group.group}` }, "Name"),
    button(group.ignored ? "Take back" : "Ignore", ignore, {
      class: "quiet",
      "aria-label": group.ignored ? `Show group ${group.group} again` : `Ignore group ${group.group}`,
    }),
  );
}
