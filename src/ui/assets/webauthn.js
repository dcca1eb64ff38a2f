// Asks a security key for what a form needs, and sends the form with its answer. A form takes part by
// data-key-options (where to ask for the options) and data-key-make (a key is made, not asked for); a button in it by
// data-key, with "alone" where no name is sent. Nothing here decides anything: the server judges the answer.
"use strict";

(() => {
  const bytes = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
  };
  const text = (buffer) => {
    const plain = Array.from(new Uint8Array(buffer), (byte) => String.fromCharCode(byte)).join("");
    return btoa(plain).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
  };
  const known = (list) => (list || []).map((key) => ({ ...key, id: bytes(key.id) }));

  const make = async (asked) => {
    const user = { ...asked.user, id: bytes(asked.user.id) };
    const publicKey = { ...asked, user, challenge: bytes(asked.challenge), excludeCredentials: known(asked.excludeCredentials) };
    const key = await navigator.credentials.create({ publicKey });
    const { attestationObject, clientDataJSON } = key.response;
    return answer(key, { attestationObject: text(attestationObject), clientDataJSON: text(clientDataJSON) });
  };
  const show = async (asked) => {
    const publicKey = { ...asked, challenge: bytes(asked.challenge), allowCredentials: known(asked.allowCredentials) };
    const key = await navigator.credentials.get({ publicKey });
    const { authenticatorData, clientDataJSON, signature, userHandle } = key.response;
    return answer(key, {
      authenticatorData: text(authenticatorData),
      clientDataJSON: text(clientDataJSON),
      signature: text(signature),
      userHandle: userHandle && userHandle.byteLength ? text(userHandle) : null,
    });
  };
  const answer = (key, response) =>
    JSON.stringify({ id: key.id, rawId: text(key.rawId), type: key.type, response, clientExtensionResults: {} });

  const run = async (form, alone) => {
    const field = (name) => form.elements.namedItem(name);
    const fields = new URLSearchParams({ form_token: field("form_token").value });
    const name = field("username");
    if (name && !alone) fields.set("username", name.value);
    const told = await fetch(form.dataset.keyOptions, { method: "POST", body: fields, credentials: "same-origin" });
    if (!told.ok) throw new Error(`status ${told.status}`);
    const { options, carried } = await told.json();
    field("key").value = await (form.dataset.keyMake === undefined ? show : make)(options.publicKey);
    field("ceremony").value = carried;
    if (alone) {
      if (name && name.type !== "hidden") name.value = "";
      field("password").value = "";
    }
    form.submit();
  };

  for (const form of document.querySelectorAll("form[data-key-options]")) {
    const problem = form.querySelector("[data-key-problem]");
    for (const button of form.querySelectorAll("button[data-key]")) {
      const alone = button.dataset.key === "alone";
      button.hidden = !window.PublicKeyCredential;
      button.addEventListener("click", async () => {
        const typed = alone ? [] : ["username", "password", "label"].map((name) => form.elements.namedItem(name));
        if (!typed.filter((field) => field && field.type !== "hidden").every((field) => field.reportValidity())) return;
        button.disabled = true;
        problem.textContent = "";
        try {
          await run(form, alone);
        } catch (error) {
          // The person closed the browser's dialog, or there is no key: the browser does not tell which.
          problem.textContent = problem.dataset.keyProblem;
          button.disabled = false;
        }
      });
    }
  }
})();
