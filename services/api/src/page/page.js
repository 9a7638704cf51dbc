// Lists the operations of /v1/openapi.json and lets one try them. What is shown is set as text, never as HTML; the key stays in
// its field and goes into one header.
"use strict";

const SHOWN_MAX = 200000; // Characters of an answer that are shown: a watch would fill the page.

function make(name, properties, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function resolve(spec, schema) {
  const name = schema && schema.$ref && schema.$ref.split("/").pop();
  return name ? spec.components.schemas[name] : schema;
}

// A value of the shape that a schema describes, to begin with: what is required.
function sample(spec, schema, depth = 0) {
  schema = resolve(spec, schema) || {};
  const type = Array.isArray(schema.type) ? schema.type[0] : schema.type;
  if (schema.enum) return schema.enum[0];
  if (type === "integer" || type === "number") return schema.minimum || 0;
  if (type === "boolean") return false;
  if (type === "array") return [];
  if (type === "string") return "";
  if (depth > 4) return {};
  const required = schema.required || [];
  return Object.fromEntries(required.map((key) => [key, sample(spec, (schema.properties || {})[key], depth + 1)]));
}

function field(parameter) {
  const schema = parameter.schema || {};
  let input;
  if (schema.enum) {
    input = make("select", {}, ...["", ...schema.enum].map((value) => make("option", { value, textContent: value })));
  } else {
    input = make("input", { type: "text", placeholder: schema.pattern || schema.format || schema.type || "" });
  }
  input.required = Boolean(parameter.required);
  input.title = parameter.description || "";
  return { parameter, input };
}

function target(path, fields) {
  const query = new URLSearchParams();
  for (const { parameter, input } of fields) {
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    if (parameter.in === "query" && input.value !== "") query.set(parameter.name, input.value);
  }
  const text = query.toString();
  return text ? `${path}?${text}` : path;
}

function headers(fields, body) {
  const result = new Headers();
  const key = document.getElementById("key").value.trim();
  if (key) result.set("Authorization", `Bearer ${key}`);
  if (body) result.set("Content-Type", "application/json");
  for (const { parameter, input } of fields) {
    if (parameter.in === "header" && input.value !== "") result.set(parameter.name, input.value);
  }
  return result;
}

// Shows an answer as it comes: all at once if it is JSON, part by part if it is a stream of events.
async function show(response, output) {
  output.classList.toggle("bad", !response.ok);
  const location = response.headers.get("Location");
  let text = `${response.status} ${response.statusText}\nX-Request-Id: ${response.headers.get("X-Request-Id")}\n`;
  if (location) text += `Location: ${location}\n`;
  output.textContent = text + "\n";
  const type = response.headers.get("Content-Type") || "";
  if (type.includes("json")) {
    output.textContent += JSON.stringify(await response.json(), null, 2).slice(0, SHOWN_MAX);
    return;
  }
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    output.textContent += part.value;
    if (output.textContent.length > SHOWN_MAX) {
      await reader.cancel();
      output.textContent += "\n(enough)";
      return;
    }
  }
}

function form(spec, path, verb, operation) {
  const fields = (operation.parameters || []).map(field);
  const rows = fields.flatMap(({ parameter, input }) => [
    make("label", { textContent: `${parameter.name} (${parameter.in})${parameter.required ? " *" : ""}` }),
    input,
  ]);
  const taken = operation.requestBody && operation.requestBody.content["application/json"];
  const body = taken && make("textarea", { value: JSON.stringify(sample(spec, taken.schema), null, 2), spellcheck: false });
  const output = make("pre", { hidden: true });
  const stop = make("button", { type: "button", textContent: "Stop", hidden: true });
  const element = make("form", {}, ...rows);
  if (body) element.append(make("label", { className: "wide" }, "Body", body));
  if (taken) element.append(make("details", { className: "wide" }, make("summary", { textContent: "Schema of the body" }),
    make("pre", { textContent: JSON.stringify(resolve(spec, taken.schema), null, 2) })));
  element.append(make("div", { className: "wide" }, make("button", { textContent: "Send" }), " ", stop));
  element.append(make("div", { className: "wide" }, output));
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    const abort = new AbortController();
    stop.onclick = () => abort.abort();
    stop.hidden = output.hidden = false;
    output.textContent = "...";
    const text = body && body.value.trim() ? body.value : undefined;
    const request = { method: verb.toUpperCase(), headers: headers(fields, text), body: text, signal: abort.signal,
      credentials: "omit", cache: "no-store" };
    try {
      await show(await fetch(target(path, fields), request), output);
    } catch (error) {
      output.classList.add("bad");
      output.textContent += `\n${error.message}`;
    }
    stop.hidden = true;
  });
  return element;
}

function entry(spec, path, verb, operation) {
  const summary = make("summary", {}, make("span", { className: "verb", textContent: verb.toUpperCase() }),
    make("code", { textContent: path }), " ", make("span", { className: "about", textContent: operation.summary || "" }));
  const details = make("details", {}, summary);
  details.dataset.text = `${verb} ${path} ${operation.summary} ${operation.operationId}`.toLowerCase();
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    details.append(make("p", { className: "about", textContent: operation.description || "" }),
      form(spec, path, verb, operation));
  });
  return details;
}

function list(spec) {
  const groups = new Map();
  for (const [path, item] of Object.entries(spec.paths)) {
    for (const [verb, operation] of Object.entries(item)) {
      const tag = (operation.tags || ["other"])[0];
      if (!groups.has(tag)) groups.set(tag, []);
      groups.get(tag).push(entry(spec, path, verb, operation));
    }
  }
  const parts = [...groups].map(([tag, entries]) => make("section", {}, make("h2", { textContent: tag }), ...entries));
  document.getElementById("operations").replaceChildren(...parts);
}

function find(event) {
  const wanted = event.target.value.toLowerCase();
  for (const section of document.querySelectorAll("section")) {
    const entries = [...section.querySelectorAll(":scope > details")];
    for (const details of entries) details.hidden = !details.dataset.text.includes(wanted);
    section.hidden = entries.every((details) => details.hidden);
  }
}

async function begin() {
  document.getElementById("find").addEventListener("input", find);
  list(await (await fetch("/v1/openapi.json")).json());
  const health = await (await fetch("/v1/health")).json();
  document.getElementById("health").textContent = `${health.node}: ${health.ready ? "ready" : health.reason}`;
}

begin().catch((error) => {
  document.getElementById("operations").textContent = `The list of operations cannot be read: ${error.message}`;
});
