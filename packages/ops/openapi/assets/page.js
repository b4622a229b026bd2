// The reference page: the viewer over this function's own description, and below it every error code with an anchor.
"use strict";

// Texts hold `code` between backticks and nothing else that is special; they are set as text, never as markup.
function fill(element, text) {
  text.split("`").forEach((part, index) => {
    const node = document.createElement(index % 2 ? "code" : "span");
    node.textContent = part;
    element.append(node);
  });
  return element;
}

function showErrors(errors) {
  const section = document.getElementById("errors");
  for (const error of errors) {
    const heading = document.createElement("h3");
    heading.id = "errors/" + error.code;
    const link = document.createElement("a");
    link.href = "#errors/" + error.code;
    link.textContent = error.code;
    const status = document.createElement("small");
    status.textContent = " " + error.status;
    heading.append(link, status);
    section.append(heading, fill(document.createElement("p"), error.text));
  }
  section.hidden = false;
}

// The browser looked for the anchor before there was one.
function goToError() {
  if (location.hash.startsWith("#errors/")) {
    document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
  }
}

async function show() {
  const reply = await fetch(location.pathname, { headers: { Accept: "application/json" } });
  const spec = await reply.json();
  const isError = location.hash.startsWith("#errors/");
  SwaggerUIBundle({
    spec,
    dom_id: "#reference",
    deepLinking: !isError,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    defaultModelRendering: "example",
    displayRequestDuration: true,
    syntaxHighlight: { activated: false },
    validatorUrl: null,
    persistAuthorization: false,
    onComplete: goToError,
  });
  showErrors(spec["x-errors"]);
  goToError();
}

window.addEventListener("hashchange", goToError);
show();
