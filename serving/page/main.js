// The page: a visitor chooses a model, gives it a sample, and sees what it says.

import { showAnswer, showError, showWaiting } from "./answer.js";
import { fingerprint, readCatalog } from "./catalog.js";
import { element, find } from "./element.js";
import { Live } from "./live.js";
import { curl, predictRequest } from "./request.js";
import { imageSample, tensorSample, textSample } from "./samples.js";
import { ask, call, hasKey, ROOT, useKey } from "./server.js";

let models = [];
let held = "";
let sample = null;
let sampleOf = "";
let asked = 0;

const live = new Live({ onHealth: refresh });

/** The models may be others than before; without a valid key nothing is known of what they take. */
async function refresh(health, overtaken) {
  if (fingerprint(health) !== held) {
    let document;
    try {
      document = await ask("openapi.json");
    } catch (error) {
      if (overtaken()) return;
      if (error.status !== 401 && error.status !== 403) throw error;
      wantKey(error);
      held = fingerprint(health);
      return;
    }
    if (overtaken()) return;
    held = fingerprint(health);
    find("key").hidden = true;
    find("forget").hidden = !hasKey();
    models = readCatalog(health, document);
    offer(find("model"), models.map(({ name }) => [name, name]));
  } else {
    for (const model of models) {
      for (const found of model.versions) {
        found.percent = health.models.find(({ name, version }) => name === model.name && version === found.version).percent;
      }
    }
  }
  chooseModel();
}

function chooseModel() {
  const model = models.find(({ name }) => name === find("model").value);
  find("predict").disabled = !model?.kind;
  if (!model) return;
  const versions = model.versions.map(({ version, variant, percent }) =>
    [version, [version, variant, percent === undefined ? null : `${percent} %`].filter(Boolean).join(" · ")]);
  const one = versions.length === 1;
  offer(find("version"), one ? [["", versions[0][1]]] : [["", "As traffic is split"], ...versions]);
  const wanted = JSON.stringify([model.name, model.kind, model.inputs]);
  if (wanted !== sampleOf) {
    sampleOf = wanted;
    sample = makeSample(model);
    find("sample").replaceChildren(sample.element);
    find("ask-hint").textContent = sample.hint;
    complain("");
  }
}

function makeSample({ kind, inputs }) {
  if (kind === "image") return imageSample({ onChosen: () => find("ask").requestSubmit() });
  if (kind === "text") return textSample();
  if (kind === "tensors") return tensorSample(inputs);
  const words = "This model’s tensors have no form in JSON; ask it in binary, below /v2.";
  return { element: element("p", { class: "hint" }, words), hint: "", read: () => ({}) };
}

/** The choice is kept if it is still there. */
function offer(select, options) {
  const wanted = options.map(([value, text]) => element("option", { value }, text));
  const same = wanted.length === select.options.length && wanted.every((option, index) => option.isEqualNode(select.options[index]));
  if (!same) {
    const before = select.value;
    select.replaceChildren(...wanted);
    if (options.some(([value]) => value === before)) select.value = before;
  }
  select.disabled = options.length === 0;
}

async function predict() {
  let given;
  try {
    given = sample.read();
  } catch (error) {
    complain(error.message);
    return;
  }
  complain("");
  const request = predictRequest({ model: find("model").value, version: find("version").value, sample: given });
  find("command").textContent = curl(request, { root: ROOT, keyed: hasKey() });
  find("same").hidden = false;
  find("copied").textContent = "";
  const number = ++asked;
  const waiting = setTimeout(() => find("answer").replaceChildren(...showWaiting()), 250);
  const started = performance.now();
  let elements;
  let sentence = "";
  try {
    const { text, headers } = await call(request.path, request);
    const roundTrip = performance.now() - started;
    ({ elements, sentence } = showAnswer({ document: JSON.parse(text), headers, roundTrip }));
  } catch (error) {
    elements = showError(error);
    if (error.status === 401) wantKey(error);
  }
  clearTimeout(waiting);
  if (number !== asked) return; // a later question was asked in the meantime
  find("answer").replaceChildren(...elements.filter(Boolean));
  find("announcement").textContent = sentence;
}

/** What is wrong with the sample, before the server is asked. */
function complain(message) {
  find("sample-error").textContent = message;
  const field = find("sample").querySelector("input, textarea");
  if (!field) return;
  if (message) {
    field.setAttribute("aria-invalid", "true");
    field.focus();
  } else {
    field.removeAttribute("aria-invalid");
  }
}

function wantKey(error) {
  find("key").hidden = false;
  find("forget").hidden = true;
  find("key-error").textContent = hasKey() ? `${error.message}.` : "";
  find("predict").disabled = models.length === 0;
}

async function changeKey(given) {
  try {
    useKey(given);
  } catch (error) {
    find("key-error").textContent = error.message;
    return;
  }
  held = "";
  await live.start();
  if (given && find("key").hidden) find("model").focus();
}

async function copy() {
  const command = find("command");
  let said = "Copied.";
  try {
    await navigator.clipboard.writeText(command.textContent);
  } catch {
    // Browsers lend the clipboard to https:// and localhost only.
    getSelection().selectAllChildren(command);
    said = "Selected: copy it with Ctrl + C.";
  }
  find("copied").textContent = said;
}

function receive(transfer) {
  const file = [...(transfer?.files ?? [])].find(({ type }) => type.startsWith("image/") || type === "");
  if (file && sample?.take) sample.take(file);
  return Boolean(file && sample?.take);
}

find("model").addEventListener("change", chooseModel);
find("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!find("predict").disabled) predict();
});
find("ask").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) find("ask").requestSubmit();
});
find("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  changeKey(find("key-field").value);
  find("key-field").value = "";
});
find("forget").addEventListener("click", () => changeKey(""));
find("copy").addEventListener("click", copy);
document.addEventListener("paste", (event) => {
  if (receive(event.clipboardData)) event.preventDefault();
});
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
for (const over of ["dragleave", "drop"]) {
  document.addEventListener(over, (event) => {
    if (over === "drop" || !event.relatedTarget) document.body.classList.remove("dragging");
  });
}
document.addEventListener("drop", (event) => {
  event.preventDefault();
  receive(event.dataTransfer);
});

live.start();
