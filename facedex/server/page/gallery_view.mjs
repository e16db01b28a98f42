// The view of the gallery itself: its state, model and size, and a backup.

import { ask } from "./api.mjs";
import { button, fill, make } from "./dom.mjs";
import { attempt } from "./notices.mjs";
import { begin, mayChange } from "./session.mjs";
import { counted, moment, sentence, size } from "./wording.mjs";

const LINES = 12; // of the log

/** @returns {Promise<{title: string, content: any[]}>} */
export async function galleryView() {
  const [info, health, storage, log] = await Promise.all([
    begin(),
    ask("GET", "/v1/health"),
    ask("GET", "/v1/storage"),
    ask("GET", "/v1/changes", { query: { limit: LINES } }),
  ]);
  const facts = [
    ["Server", `answers, version ${health.version}`],
    ["Enrolled", `${counted(info.people, "person", "people")}, ${counted(info.faces, "face")}`],
    ["Library", libraryWords(info.library)],
    ["Model", `${info.model_name}, ${counted(info.dimensions, "number")} a face`],
    ["On disk", size(storage.bytes)],
    [
      "Pictures of faces",
      info.keep_crops
        ? "kept in the gallery for faces that are enrolled here"
        : "cut from the photos, where these still lie",
    ],
    ["This browser", mayChange() ? "may change everything" : "may only read"],
  ];
  const content = [
    make(
      "dl",
      { class: "facts" },
      facts.map(([term, words]) => make("div", {}, make("dt", {}, term), make("dd", {}, words))),
    ),
    log.total > 0 && logPart(log),
    mayChange() && backupPart(),
    mayChange() && doctorPart(),
    info.needs_token && sessionPart(),
  ];
  return { title: "The gallery", content: content.filter(Boolean) };
}

/** @param {any} library */
function libraryWords(library) {
  if (!library.photos) return "nothing is scanned";
  return `${counted(library.photos, "photo")}, ${counted(library.faces, "face")}`;
}

/** @param {any} log */
function logPart(log) {
  const rows = log.changes.map((/** @type {any} */ one) =>
    make("li", {}, make("span", { class: "hint" }, moment(one.time)), make("span", {}, changeWords(one))),
  );
  const part = `${counted(log.total, "change")} of the gallery, the last one first. The command facedex log shows all.`;
  return make(
    "section",
    {},
    make("h2", {}, "Log"),
    make("p", { class: "hint" }, part),
    make("ol", { class: "log" }, rows),
  );
}

/** @param {any} one a change */
function changeWords(one) {
  const who = one.former && one.name ? `${one.former} → ${one.name}` : one.name;
  const sizes = [one.photos && counted(one.photos, "photo"), one.faces && counted(one.faces, "face")].filter(Boolean);
  return [one.kind.replaceAll("-", " "), who, one.detail, sizes.join(" and ")].filter(Boolean).join(", ");
}

function backupPart() {
  return make(
    "section",
    {},
    make("h2", {}, "Backup"),
    make(
      "p",
      {},
      "One file with everybody and all faces, which facedex restore reads. It is personal data; keep it safe.",
    ),
    make("a", { class: "key", href: "/v1/backup", download: "gallery.tar" }, "Download a backup"),
  );
}

function doctorPart() {
  const results = make("ul", { class: "findings", "aria-live": "polite" });
  const check = button("Check the gallery", async () => {
    check.disabled = true;
    fill(results, make("li", {}, "Checking …"));
    const found = await attempt(() => ask("POST", "/v1/doctor"));
    fill(results, (found?.findings ?? []).map(finding));
    check.disabled = false;
  });
  return make(
    "section",
    {},
    make("h2", {}, "Health"),
    make("p", {}, "Every part is checked, and repaired where it can be. Nothing sound is changed."),
    check,
    results,
  );
}

/** @param {{part: string, state: string, detail: string}} one */
function finding(one) {
  return make(
    "li",
    { class: `finding ${one.state}` },
    make("span", { class: "name" }, one.part),
    make("span", { class: "tag" }, one.state),
    make("span", { class: "hint" }, sentence(one.detail)),
  );
}

function sessionPart() {
  const leave = () =>
    attempt(async () => {
      await ask("DELETE", "/v1/session");
      location.reload();
    });
  return make("section", {}, make("h2", {}, "Session"), button("Sign out", leave));
}
