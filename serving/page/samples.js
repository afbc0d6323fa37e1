// What a visitor gives to a model: an image, a text, or tensors as JSON. Each is a part of the form
// with `element`, `read()` (throws Error with what is wrong) and `hint`.

import { example, tensors } from "./catalog.js";
import { drawing, element } from "./element.js";
import { bytes } from "./figures.js";

const DESCRIBED = "sample-hint sample-error";

export function imageSample({ onChosen }) {
  let chosen = null;
  const input = element("input", { type: "file", id: "image", accept: "image/*", "aria-describedby": "sample-error" });
  const preview = element("img", { alt: "", hidden: true });
  const name = element("strong", {}, "Choose an image");
  const hint = element("span", { class: "hint" }, "or drop it here, or paste it");
  const label = element("label", { class: "drop", for: "image" }, preview, glyph(), element("span", { class: "words" }, name, hint));

  const take = (file) => {
    if (!file) return;
    chosen = file;
    URL.revokeObjectURL(preview.src);
    preview.src = URL.createObjectURL(file);
    preview.hidden = false;
    name.textContent = file.name;
    hint.textContent = `${bytes(file.size)} · choose, drop or paste another`;
    label.dataset.chosen = "";
    onChosen();
  };
  preview.addEventListener("error", () => {
    preview.hidden = true; // no picture that this browser can show: the server may know it
  });
  input.addEventListener("change", () => take(input.files[0]));

  return {
    element: element("div", { class: "image" }, input, label),
    hint: "",
    take,
    read() {
      if (!chosen) throw new Error("Choose an image first.");
      return { image: chosen };
    },
  };
}

export function textSample() {
  const area = element("textarea", { id: "text", rows: 7, "aria-describedby": DESCRIBED, placeholder: "Write or paste a text" });
  return {
    element: element("div", { class: "field" }, element("label", { for: "text" }, "Text"), area,
      element("p", { class: "hint", id: "sample-hint" }, "Sent as it stands, to be tokenized by the server.")),
    hint: "Ctrl + Enter",
    read() {
      if (!area.value) throw new Error("Write a text first.");
      return { text: area.value };
    },
  };
}

export function tensorSample(schema) {
  const area = element("textarea", { id: "tensors", class: "code", rows: 9, spellcheck: "false", autocapitalize: "off", "aria-describedby": DESCRIBED });
  const start = example(schema);
  area.value = start ? lines(start) : "";
  const shapes = tensors(schema).map(({ name, kind, shape }) =>
    element("li", {}, element("code", {}, name), ` ${kind} [${shape.map((side) => side ?? "any").join(", ")}]`));
  return {
    element: element("div", { class: "field" }, element("label", { for: "tensors" }, "Inputs, as JSON"), area,
      element("ul", { class: "hint shapes", id: "sample-hint" }, shapes)),
    hint: "Ctrl + Enter",
    read() {
      let inputs;
      try {
        inputs = JSON.parse(area.value);
      } catch (error) {
        throw new Error(`This is not JSON: ${error.message}`);
      }
      return { inputs };
    },
  };
}

/** One tensor a line: long lists would make a column of them. */
function lines(inputs) {
  const entries = Object.entries(inputs).map(([name, value]) => `  ${JSON.stringify(name)}: ${JSON.stringify(value).replaceAll(",", ", ")}`);
  return `{\n${entries.join(",\n")}\n}`;
}

function glyph() {
  return drawing("svg", { class: "glyph", viewBox: "0 0 24 24", "aria-hidden": "true" },
    drawing("rect", { x: 3, y: 4, width: 18, height: 16, rx: 3 }),
    drawing("circle", { cx: 9, cy: 10, r: 1.75 }),
    drawing("path", { d: "m4 18 5-4.5 3.5 3 3.5-4 5 5.5" }));
}
