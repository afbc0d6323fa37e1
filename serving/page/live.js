// The server as it is now: health, traffic of the last minute, and the versions of each model.

import { drawing, element, find } from "./element.js";
import { duration, percent, rate } from "./figures.js";
import { keyOf, readRequests, Recent } from "./metrics.js";
import { ask, call, health } from "./server.js";

const SECONDS = 3;
const STATES = {
  starting: ["Starting", "busy"],
  ready: ["Ready", "good"],
  degraded: ["Degraded", "busy"],
  draining: ["Draining", "busy"],
};

export class Live {
  #recent = new Recent();
  #denied = null;
  #reasons = new Map();
  #health = null;
  #timer = 0;
  #begun = 0;
  #paused = false;

  /** `onHealth` is told what /health says each time, and may ask whether a later look overtook this one. */
  constructor({ onHealth }) {
    this.onHealth = onHealth;
    find("pause").addEventListener("click", () => this.#pause());
    document.addEventListener("visibilitychange", () => this.#schedule(0));
  }

  /** Look now, and again and again while somebody looks at the page. */
  async start() {
    this.#denied = null;
    this.#recent.clear();
    await this.#look();
  }

  /** A look that a later one overtook, perhaps with another key, leaves what it saw. */
  async #look() {
    clearTimeout(this.#timer);
    const number = ++this.#begun;
    const overtaken = () => number !== this.#begun;
    try {
      const seen = await health();
      if (overtaken()) return;
      this.#health = seen;
      await this.onHealth(seen, overtaken);
      if (overtaken()) return;
      const [counted, reasons] = await Promise.all([this.#count(), this.#explain(seen)]);
      if (overtaken()) return;
      this.#reasons = reasons;
      this.#denied = counted.denied;
      if (counted.found) this.#recent.add(counted.at, counted.found);
      this.#show();
    } catch {
      if (overtaken()) return;
      this.#health = null;
      this.#showStatus();
    }
    this.#schedule(SECONDS * 1000);
  }

  #schedule(milliseconds) {
    clearTimeout(this.#timer);
    if (!this.#paused && !document.hidden) this.#timer = setTimeout(() => this.#look(), milliseconds);
  }

  #pause() {
    this.#paused = !this.#paused;
    const button = find("pause");
    button.setAttribute("aria-pressed", String(this.#paused));
    this.#showPulse();
    this.#schedule(0);
  }

  /** Unless this visitor may not: then the server's words stand in its place. */
  async #count() {
    if (this.#denied) return { denied: this.#denied };
    try {
      const { text } = await call("metrics", { headers: { Accept: "text/plain" } });
      return { at: performance.now() / 1000, found: readRequests(text), denied: null };
    } catch (error) {
      if (error.status !== 401 && error.status !== 403) throw error;
      return { denied: error };
    }
  }

  /** /health says which versions are refused, and only those who may predict learn why. */
  async #explain({ refused }) {
    if (!refused) return this.#reasons;
    try {
      const index = await ask("v2/repository/index", { method: "POST" });
      return new Map(index.map(({ name, version, reason }) => [keyOf(name, version), reason]));
    } catch {
      return new Map();
    }
  }

  #show() {
    this.#showStatus();
    this.#showPulse();
    const summary = this.#recent.summary();
    replace(find("tiles"), this.#tiles(summary));
    const denied = find("metrics-refused");
    denied.hidden = !this.#denied;
    denied.textContent = this.#denied ? `No figures of the traffic: ${this.#denied.message}.` : "";
    replace(find("models"), [head(), ...byModel(this.#health).map((model) => showModel(model, summary, this.#reasons))]);
  }

  #showStatus() {
    const [text, tone] = this.#health ? STATES[this.#health.status] : ["Unreachable", "bad"];
    const status = find("status");
    if (status.textContent !== text) status.textContent = text;
    status.dataset.tone = tone;
  }

  #showPulse() {
    find("pulse").textContent = this.#paused
      ? `Paused at ${new Date().toLocaleTimeString()}`
      : `The last minute, looked at every ${SECONDS} seconds`;
  }

  #tiles(summary) {
    const { all } = summary ?? {};
    const models = new Set(this.#health.models.map(({ name }) => name)).size;
    const failed = all?.requests ? percent(all.faults / all.requests) : "–";
    return [
      tile("Requests a second", all ? rate(all.rate) : "–", sparkline(this.#recent.course())),
      tile("95th percentile", all?.p95 == null ? "–" : duration(all.p95 * 1000), note("of the answers’ time")),
      tile("Failed", failed, note(all ? `${all.faults} of ${all.requests.toLocaleString("en")} requests` : "")),
      tile("Held", String(this.#health.models.length), note(`versions of ${models} ${models === 1 ? "model" : "models"}`)),
    ];
  }
}

/** Each model with its versions. */
function byModel({ models, refused = [] }) {
  const found = new Map();
  const of = (name) => {
    if (!found.has(name)) found.set(name, { name, versions: [], refused: [] });
    return found.get(name);
  };
  for (const version of models) of(version.name).versions.push(version);
  for (const version of refused) of(version.name).refused.push(version);
  return [...found.values()];
}

function head() {
  const titles = ["Version", "Split", "Last minute", "Requests/s", "p95"];
  return element("thead", {}, element("tr", {}, titles.map((title) => element("th", { scope: "col" }, title))));
}

/** A group of rows; the models share one table, so that their figures stand below each other. */
function showModel({ name, versions, refused }, summary, reasons) {
  const figures = versions.map(({ version }) => summary?.versions.get(keyOf(name, version)));
  const asked = figures.reduce((sum, found) => sum + (found?.requests ?? 0), 0);
  const rows = versions.map((found, index) => ({
    ...found,
    index,
    figures: figures[index],
    seen: asked ? (figures[index]?.requests ?? 0) / asked : null,
    share: (found.percent ?? (index ? 0 : 100)) / 100,
  }));
  const engines = [...new Set(versions.map(({ engine, provider }) => `${engine} on ${provider}`))].join(", ");
  return element("tbody", {},
    element("tr", { class: "model" },
      element("th", { scope: "rowgroup", colspan: 5 },
        element("strong", {}, name), element("span", { class: "hint" }, engines), split(rows))),
    rows.map(row),
    refused.map(({ version }) => refusedRow(version, reasons.get(keyOf(name, version)))));
}

/** A picture of the traffic, where there is something to see. */
function split(rows) {
  const shared = rows.filter(({ share }) => share > 0);
  if (shared.length < 2) return null;
  return element("div", { class: "split", "aria-hidden": "true" }, shared.map(({ index, share }) => {
    const piece = element("i", { "data-version": index % 6 });
    piece.style.flexGrow = String(share);
    return piece;
  }));
}

function row({ version, variant, index, share, seen, figures }) {
  const [state, tone] = share > 0 ? ["Serving", "good"] : ["Held", "quiet"];
  return element("tr", {},
    element("th", { scope: "row" },
      element("span", { class: "version" }, element("i", { "data-version": index % 6, "aria-hidden": "true" }), version),
      element("span", { class: "about" }, element("span", { class: "state", "data-tone": tone }, state), variant)),
    element("td", {}, percent(share)),
    element("td", {}, seen === null ? "–" : percent(seen)),
    element("td", {}, figures ? rate(figures.rate) : "–"),
    element("td", {}, figures?.p95 == null ? "–" : duration(figures.p95 * 1000)));
}

function refusedRow(version, reason) {
  return element("tr", { class: "refused" },
    element("th", { scope: "row" },
      element("span", { class: "version" }, element("i", { "aria-hidden": "true" }), version),
      element("span", { class: "about" }, element("span", { class: "state", "data-tone": "bad" }, "Refused"))),
    element("td", { colspan: 4 }, reason ?? "The reason is told to those who may predict."));
}

function tile(name, value, below) {
  return element("div", { class: "card" }, element("dt", {}, name), element("dd", {}, element("strong", {}, value), below));
}

function note(text) {
  return element("span", {}, text);
}

function sparkline(course) {
  const top = Math.max(...course, 1e-9);
  const step = 100 / Math.max(course.length - 1, 1);
  const points = course.map((value, index) => `${(index * step).toFixed(1)},${(23 - (21 * value) / top).toFixed(1)}`);
  return drawing("svg", { class: "course", viewBox: "0 0 100 24", preserveAspectRatio: "none", "aria-hidden": "true" },
    points.length > 1 ? [
      drawing("polygon", { points: `0,24 ${points.join(" ")} 100,24` }),
      drawing("polyline", { points: points.join(" ") }),
    ] : null);
}

/** What has not changed stays, with whatever of it is selected. */
function replace(parent, wanted) {
  wanted.forEach((child, index) => {
    const present = parent.children[index];
    if (!present) parent.append(child);
    else if (!present.isEqualNode(child)) present.replaceWith(child);
  });
  while (parent.children.length > wanted.length) parent.lastElementChild.remove();
}
