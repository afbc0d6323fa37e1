// A prediction as a request: for the browser to send, and as a curl command to be shown.

/** `sample` is {image: File}, {text: string} or {inputs: {…}}. */
export function predictRequest({ model, version, sample }) {
  const options = version ? { model, version } : { model };
  if (sample.image) {
    const form = new FormData();
    form.append("image", sample.image, sample.image.name);
    for (const [name, value] of Object.entries(options)) form.append(name, value);
    return { path: "predict", method: "POST", headers: {}, body: form };
  }
  return {
    path: "predict",
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ ...options, ...sample }),
  };
}

/** The same for a shell. Of a key only the name of a variable is shown. */
export function curl(request, { root, keyed }) {
  const lines = [`curl -sS ${quoted(new URL(request.path, root).href)}`];
  if (keyed) lines.push('-H "Authorization: Bearer $API_KEY"');
  for (const [name, value] of Object.entries(request.headers)) lines.push(`-H ${quoted(`${name}: ${value}`)}`);
  if (request.body instanceof FormData) {
    for (const [name, value] of request.body) {
      lines.push(value instanceof File ? `-F ${quoted(`${name}=@"${escaped(value.name)}"`)}` : `--form-string ${quoted(`${name}=${value}`)}`);
    }
  } else {
    lines.push(`--data-raw ${quoted(request.body)}`);
  }
  return lines.join(" \\\n  ");
}

function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** Inside curl's own double quotes. */
function escaped(name) {
  return name.replaceAll("\\", "\\\\").replaceAll('"', '\\"');
}
