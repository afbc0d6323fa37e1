// Rates and percentiles of the last minute, from looks at /metrics.

const FAMILY = "trainyard_request_seconds_bucket";
const SAMPLE = /^(\w+)\{(.*)\} (\S+)/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;
const ESCAPES = { n: "\n" };

/** Requests that reached a model, by model and version: their number, faults, and buckets. */
export function readRequests(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    if (!line.startsWith(FAMILY)) continue;
    const [, , labels, value] = line.match(SAMPLE);
    const { model, version, status, le } = readLabels(labels);
    if (!model) continue;
    const name = keyOf(model, version);
    if (!found.has(name)) found.set(name, { model, version, requests: 0, faults: 0, buckets: new Map() });
    const entry = found.get(name);
    const bound = le === "+Inf" ? Infinity : Number(le);
    entry.buckets.set(bound, (entry.buckets.get(bound) ?? 0) + Number(value));
    if (bound === Infinity) {
      entry.requests += Number(value);
      if (isFault(status)) entry.faults += Number(value);
    }
  }
  return found;
}

export function keyOf(model, version) {
  return JSON.stringify([model, version]);
}

/** As Prometheus's histogram_quantile: linear between the bounds of cumulative buckets. */
export function quantile(share, buckets) {
  const ordered = [...buckets].sort(([a], [b]) => a - b);
  const wanted = share * (ordered.at(-1)?.[1] ?? 0);
  if (!wanted) return null;
  let [from, below] = [0, 0];
  for (const [bound, count] of ordered) {
    if (count >= wanted) {
      return bound === Infinity ? from : from + ((bound - from) * (wanted - below)) / (count - below);
    }
    [from, below] = [bound, count];
  }
  return from;
}

/** Looks of the last `seconds`; counters that fell belong to a server that was started anew. */
export class Recent {
  #looks = [];

  constructor(seconds = 60) {
    this.seconds = seconds;
  }

  add(at, found) {
    const last = this.#looks.at(-1);
    if (last && total(found) < total(last.found)) this.#looks = [];
    this.#looks.push({ at, found });
    while (this.#looks.length > 2 && this.#looks[1].at <= at - this.seconds) this.#looks.shift();
  }

  clear() {
    this.#looks = [];
  }

  /** What happened between the first and the last look; null before there are two. */
  summary() {
    if (this.#looks.length < 2) return null;
    return difference(this.#looks[0], this.#looks.at(-1));
  }

  /** Requests a second between each look and the next. */
  course() {
    return this.#looks.slice(1).map((look, index) => difference(this.#looks[index], look).all.rate);
  }
}

function difference(first, last) {
  const seconds = last.at - first.at;
  const versions = new Map();
  const all = { requests: 0, faults: 0, buckets: new Map() };
  for (const [name, now] of last.found) {
    const before = first.found.get(name);
    const buckets = new Map([...now.buckets].map(([bound, count]) => [bound, count - (before?.buckets.get(bound) ?? 0)]));
    const requests = now.requests - (before?.requests ?? 0);
    const faults = now.faults - (before?.faults ?? 0);
    versions.set(name, told({ requests, faults, buckets }, seconds));
    all.requests += requests;
    all.faults += faults;
    for (const [bound, count] of buckets) all.buckets.set(bound, (all.buckets.get(bound) ?? 0) + count);
  }
  return { all: told(all, seconds), versions };
}

function told({ requests, faults, buckets }, seconds) {
  return { requests, faults, rate: requests / seconds, p95: quantile(0.95, buckets) };
}

function total(found) {
  return [...found.values()].reduce((sum, { requests }) => sum + requests, 0);
}

/** 503 is the answer of a server that is full, not of one that fails. */
function isFault(status) {
  return Number(status) >= 500 && status !== "503";
}

function readLabels(text) {
  const labels = {};
  for (const [, name, value] of text.matchAll(LABEL)) {
    labels[name] = value.replace(/\\(.)/g, (_, sign) => ESCAPES[sign] ?? sign);
  }
  return labels;
}
