// What came back: a prediction, tensors, or the server's own words about what is wrong.

import { element } from "./element.js";
import { duration, percent } from "./figures.js";

const FEW = 6;
const PHASES = { decode: "Decode", queue: "Queue", infer: "Model", encode: "Encode" };

/** The elements to show, and one sentence for those who listen. */
export function showAnswer({ document, headers, roundTrip }) {
  const { prediction, outputs } = document;
  const variant = headers.get("X-Variant");
  const spent = readTiming(headers.get("Server-Timing") ?? "");
  const said = prediction
    ? `${prediction.label}, ${percent(prediction.probabilities[prediction.label])}`
    : `${Object.keys(outputs).length} tensors`;
  return {
    elements: [
      ...(prediction ? showPrediction(prediction) : showOutputs(outputs)),
      element("dl", { class: "facts" },
        fact("Version", document.version), fact("Variant", variant),
        fact("Round trip", duration(roundTrip)),
        spent.has("total") ? fact("In the server", duration(spent.get("total"))) : null),
      spent.has("total") ? showTime(spent, roundTrip) : null,
    ],
    sentence: `${said}. Version ${document.version}, variant ${variant}, ${duration(roundTrip)}.`,
  };
}

export function showError({ status, code, message, field, remedy, id }) {
  return [
    element("div", { class: "error", role: "alert" },
      element("p", { class: "what" }, `${message}${/[.!?]$/.test(message) ? "" : "."}`),
      remedy ? element("p", {}, element("strong", {}, "What to do: "), remedy) : null),
    element("dl", { class: "facts" },
      status ? fact("Status", String(status)) : null, code ? fact("Code", code) : null,
      field ? fact("Field", field) : null, id ? fact("Request", id, "long") : null),
  ];
}

export function showWaiting() {
  return [element("div", { class: "nothing" },
    element("div", { class: "ghost busy", "aria-hidden": "true" }, element("i"), element("i"), element("i")),
    element("p", {}, "Asking the model…"))];
}

function showPrediction({ label, probabilities }) {
  const ordered = Object.entries(probabilities).sort(([, a], [, b]) => b - a);
  const list = element("ol", { class: "bars", id: "bars", role: "list" }, ordered.slice(0, FEW).map(bar));
  const found = [
    element("p", { class: "verdict" }, element("strong", {}, label), " ",
      element("span", {}, percent(probabilities[label]))),
    list,
  ];
  if (ordered.length > FEW) {
    const more = element("button", { class: "quiet", type: "button", "aria-expanded": "false", "aria-controls": "bars" }, `Show all ${ordered.length}`);
    more.addEventListener("click", () => {
      const open = more.getAttribute("aria-expanded") === "false";
      list.replaceChildren(...(open ? ordered : ordered.slice(0, FEW)).map(bar));
      more.setAttribute("aria-expanded", String(open));
      more.textContent = open ? `Show the first ${FEW}` : `Show all ${ordered.length}`;
    });
    found.push(more);
  }
  return found;
}

function bar([label, share]) {
  const fill = element("i");
  fill.style.width = `${share * 100}%`;
  return element("li", {},
    element("span", { class: "name" }, label), element("span", { class: "share" }, percent(share)),
    element("span", { class: "track", "aria-hidden": "true" }, fill));
}

function showOutputs(outputs) {
  return [element("dl", { class: "tensors" }, Object.entries(outputs).map(([name, value]) =>
    element("div", {},
      element("dt", {}, element("code", {}, name), ` [${shape(value).join(", ")}]`),
      element("dd", {}, element("pre", { tabindex: "0", "aria-label": name }, JSON.stringify(value).replaceAll(",", ", "))))))];
}

/** Where the time went: the phases of the server, and what is left of the round trip. */
function showTime(spent, roundTrip) {
  const known = Object.entries(PHASES).filter(([name]) => spent.has(name)).map(([name, title]) => [name, title, spent.get(name)]);
  const rest = roundTrip - known.reduce((sum, [, , time]) => sum + time, 0);
  const parts = [...known, ["rest", "Network and browser", Math.max(rest, 0)]];
  const strip = element("div", { class: "strip", "aria-hidden": "true" }, parts.map(([name, , time]) => {
    const piece = element("i", { "data-phase": name });
    piece.style.flexGrow = String(time / roundTrip);
    return piece;
  }));
  return element("div", { class: "time" }, strip,
    element("ul", { class: "legend", role: "list", "aria-label": "Where the time went" }, parts.map(([name, title, time]) =>
      element("li", {}, element("i", { "data-phase": name, "aria-hidden": "true" }), `${title} `, element("span", {}, duration(time))))));
}

function fact(name, value, kind) {
  return element("div", { class: kind }, element("dt", {}, name), element("dd", {}, value));
}

function shape(value) {
  return Array.isArray(value) ? [value.length, ...shape(value[0])] : [];
}

function readTiming(text) {
  return new Map([...text.matchAll(/(\w+);dur=([\d.]+)/g)].map(([, name, time]) => [name, Number(time)]));
}
