// Asks a security key for what a form needs, and sends the form with its answer. A form takes part by
// data-key-options (where to ask for the options) and data-key-make (a key is made, not asked for); a button in it by
// data-key, with "alone" where no name is sent. Nothing here decides anything: the server judges the answer.
"use strict";

(() => {
  // The browser reads and writes the ceremony's JSON itself (WebAuthn level 3, sections 5.1.8 to 5.1.10).
  const make = (asked) =>
    navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(asked) });
  const show = (asked) =>
    navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(asked) });

  const run = async (form, alone) => {
    const field = (name) => form.elements.namedItem(name);
    const fields = new URLSearchParams({ form_token: field("form_token").value });
    const name = field("username");
    if (name && !alone) fields.set("username", name.value);
    const told = await fetch(form.dataset.keyOptions, { method: "POST", body: fields, credentials: "same-origin" });
    if (!told.ok) throw new Error(`status ${told.status}`);
    const { options, carried } = await told.json();
    const key = await (form.dataset.keyMake === undefined ? show : make)(options.publicKey);
    field("key").value = JSON.stringify(key);
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
      button.hidden = !(window.PublicKeyCredential && PublicKeyCredential.parseCreationOptionsFromJSON);
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
