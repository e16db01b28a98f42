// Tells the views when the gallery has changed: by this page, by another page, or by a scan.

/** Sends `change` (with `what`), and `scan` (with the progress) as `detail`. */
export const changes = new EventTarget();

/** @type {EventSource | null} */
let stream = null;

/** Listens to the server while the page is visible. A hidden page would hold one of the browser's few connections. */
export function follow() {
  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : listen(true)));
  if (!document.hidden) listen(false);
}

/** @param {boolean} again */
function listen(again) {
  leave();
  const made = new EventSource("/v1/events");
  stream = made;
  made.addEventListener("change", (event) => tell("change", JSON.parse(event.data)));
  made.addEventListener("scan", (event) => tell("scan", JSON.parse(event.data)));
  made.addEventListener("reset", () => tell("change", { what: "everything" }));
  let lost = again; // what happened meanwhile is not known
  made.addEventListener("open", () => {
    if (lost) tell("change", { what: "everything" });
    lost = true;
  });
}

function leave() {
  stream?.close();
  stream = null;
}

/** @param {string} kind @param {unknown} detail */
function tell(kind, detail) {
  changes.dispatchEvent(new CustomEvent(kind, { detail }));
}

/**
 * Says that this page has changed something. The server says so itself where it is listened to.
 * @param {string} what
 */
export function changed(what) {
  if (stream?.readyState !== EventSource.OPEN) tell("change", { what });
}
