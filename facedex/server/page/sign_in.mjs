// The view that asks for the server's token. The server keeps it in a cookie that no script can read.

import { ask } from "./api.mjs";
import { form, labelled, make } from "./dom.mjs";
import { reason } from "./wording.mjs";

/** @returns {{title: string, content: HTMLElement[]}} */
export function signInView() {
  const field = make("input", { type: "password", autocomplete: "current-password", required: true, maxlength: 1000 });
  const fault = make("p", { class: "fault", role: "alert" });
  const send = async () => {
    fault.textContent = "";
    try {
      await ask("POST", "/v1/session", { json: { token: field.value.trim() } });
      location.reload();
    } catch (error) {
      fault.textContent = reason(error);
    }
  };
  const entry = form(
    "line",
    send,
    labelled("Token", field, "facedex serve printed it when it started."),
    make("button", { type: "submit", class: "primary" }, "Sign in"),
  );
  return { title: "Sign in", content: [make("p", { class: "lead" }, "This server asks for a token."), entry, fault] };
}
