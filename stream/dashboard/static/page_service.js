// Two pages: workers with their lag, and dead letters.

import { ask } from "./api.js";
import { asTable, linesChart } from "./charts.js";
import { card, figures, h, Section, table } from "./dom.js";
import { bytes, count, moment } from "./format.js";
import { tag } from "./shared.js";

const KINDS = { ready: "good", "not ready": "warn", stuck: "bad", away: "bad", unknown: "calm" };

function workerTable(workers) {
  return table("Workers", [
    ["worker", (worker) => worker.url, "long"],
    ["health", (worker) => tag(worker.state === "away" ? "unreachable" : worker.state, KINDS[worker.state])],
    ["probe", (worker) => worker.reason, "long"],
    ["partitions", (worker) => worker.partitions.join(", ") || "–"],
    ["lag", (worker) => count(worker.lag), "num"],
    ["requests", (worker) => count(worker.rows), "num"],
    ["dead letters", (worker) => count(worker.dead_letters), "num"],
    ["version", (worker) => worker.version || "–"],
    ["polled at", (worker) => (worker.asked_at ? moment(worker.asked_at) : "–"), "time"],
  ], workers, { nothing: "No workers are polled. Pass --worker http://host:9464 for each, with its metrics address." });
}

function lagCard(found) {
  const lags = found.lags;
  const rows = lags.slice(-100).reverse();
  return [
    found.trouble && h("p", { class: "quiet" }, found.trouble),
    lags.length > 1 && linesChart("Uncommitted messages over the last hour", lags.map(([at]) => at), [["uncommitted messages", lags.map(([, value]) => value), ""]], { whole: true }),
    asTable("table-lag", table("Lag", [["time", ([at]) => moment(at), "time"], ["uncommitted messages", ([, value]) => count(value), "num"]], rows)),
  ].filter(Boolean);
}

export function workersPage() {
  const sections = Object.fromEntries(["figures", "workers", "lag"].map((name) => [name, new Section(h("div", {}))]));
  return {
    title: "Workers", page: "workers", kinds: ["workers"],
    element: h("div", {}, h("div", { class: "head" }, h("h1", {}, "Workers")), sections.figures.element,
      h("div", { class: "grid" }, card("Health", {}, sections.workers.element), card("Lag", { note: "according to Kafka, last hour" }, sections.lag.element))),
    async update() {
      const found = await ask("workers");
      const ready = found.workers.filter((worker) => worker.state === "ready").length;
      sections.figures.show([found.group, found.lag, ready, found.workers.length], () => figures([
        ["Ready", found.workers.length ? `${ready} of ${found.workers.length}` : "–", "workers", ready < found.workers.length ? "bad" : ""],
        ["Lag", count(found.lag), `messages, group ${found.group}`]]));
      sections.workers.show(found.workers, workerTable);
      sections.lag.show(found, lagCard);
    },
  };
}

function letter(found) {
  const headers = found.headers.map(([name, value]) => `${name}: ${value}`).join("\n");
  return h("details", { id: `letter-${found.place}` }, h("summary", {}, "headers and first bytes"),
    h("pre", {}, headers), h("pre", {}, found.head || "(empty)"));
}

function examples(letters) {
  return table("Latest dead letters", [
    ["from", (found) => h("code", {}, found.place)],
    ["reason", (found) => tag(found.reason, "warn")],
    ["detail", (found) => found.detail, "long"],
    ["size", (found) => bytes(found.size), "num"],
    ["refused at", (found) => moment(found.published), "time"],
    ["message", letter, "long"],
  ], letters, { nothing: "No messages were refused." });
}

export function lettersPage() {
  const sections = Object.fromEntries(["counts", "examples"].map((name) => [name, new Section(h("div", {}))]));
  return {
    title: "Dead letters", page: "letters", kinds: ["letters"],
    element: h("div", {}, h("div", { class: "head" }, h("h1", {}, "Dead letters"), h("p", { class: "quiet" }, "Messages that the workers refused. The topic dead-letter has them in full.")),
      h("div", { class: "grid" }, card("Counts by reason", {}, sections.counts.element), card("Latest", {}, sections.examples.element))),
    async update() {
      const found = await ask("dead-letters");
      sections.counts.show(found.counts, (counts) => table("Dead letters by reason", [
        ["reason", (row) => row.reason], ["messages", (row) => count(row.count), "num"], ["latest", (row) => moment(row.newest), "time"]], counts, { nothing: "No messages were refused." }));
      sections.examples.show(found.examples, examples);
    },
  };
}
