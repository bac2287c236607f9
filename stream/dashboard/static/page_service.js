// Workers and their lag; dead letters.

import { ask } from "./api.js";
import { asTable, linesChart } from "./charts.js";
import { card, figures, h, Part, table } from "./dom.js";
import { bytes, count, moment } from "./format.js";
import { tag } from "./pieces.js";

const KINDS = { ready: "good", "not ready": "warn", stuck: "bad", away: "bad", unknown: "calm" };

function workerTable(workers) {
  return table("Workers", [
    ["worker", (worker) => worker.url, "long"],
    ["health", (worker) => tag(worker.state, KINDS[worker.state])],
    ["its probe says", (worker) => worker.reason, "long"],
    ["partitions", (worker) => worker.partitions.join(", ") || "–"],
    ["lag", (worker) => count(worker.lag), "num"],
    ["requests", (worker) => count(worker.rows), "num"],
    ["dead letters", (worker) => count(worker.dead_letters), "num"],
    ["version", (worker) => worker.version || "–"],
    ["asked at", (worker) => (worker.asked_at ? moment(worker.asked_at) : "–"), "time"],
  ], workers, { nothing: "No worker is asked: name each with --worker http://host:9464, its metrics address." });
}

function lagCard(found) {
  const lags = found.lags;
  const rows = lags.slice(-100).reverse();
  return [
    found.trouble && h("p", { class: "quiet" }, found.trouble),
    lags.length > 1 && linesChart("Messages that wait, over the last hour", lags.map(([at]) => at), [["messages that wait", lags.map(([, value]) => value), ""]], { whole: true }),
    asTable("table-lag", table("Lag", [["time", ([at]) => moment(at), "time"], ["messages that wait", ([, value]) => count(value), "num"]], rows)),
  ].filter(Boolean);
}

export function workersPage() {
  const parts = Object.fromEntries(["figures", "workers", "lag"].map((name) => [name, new Part(h("div", {}))]));
  return {
    title: "Workers", page: "workers", kinds: ["workers"],
    element: h("div", {}, h("div", { class: "head" }, h("h1", {}, "Workers")), parts.figures.element,
      h("div", { class: "grid" }, card("Health", {}, parts.workers.element), card("Lag", { note: "as Kafka has it, the last hour" }, parts.lag.element))),
    async update() {
      const found = await ask("workers");
      const ready = found.workers.filter((worker) => worker.state === "ready").length;
      parts.figures.show([found.group, found.lag, ready, found.workers.length], () => figures([
        ["Ready", found.workers.length ? `${ready} of ${found.workers.length}` : "–", "workers", ready < found.workers.length ? "bad" : ""],
        ["Lag", count(found.lag), `messages, group ${found.group}`]]));
      parts.workers.show(found.workers, workerTable);
      parts.lag.show(found, lagCard);
    },
  };
}

function letter(found) {
  const headers = found.headers.map(([name, value]) => `${name}: ${value}`).join("\n");
  return h("details", { id: `letter-${found.place}` }, h("summary", {}, "headers and beginning"),
    h("pre", {}, headers), h("pre", {}, found.head || "(empty)"));
}

function examples(letters) {
  return table("The newest dead letters", [
    ["from", (found) => h("code", {}, found.place)],
    ["reason", (found) => tag(found.reason, "warn")],
    ["what is wrong", (found) => found.detail, "long"],
    ["size", (found) => bytes(found.size), "num"],
    ["refused at", (found) => moment(found.published), "time"],
    ["message", letter, "long"],
  ], letters, { nothing: "No message was refused." });
}

export function lettersPage() {
  const parts = Object.fromEntries(["counts", "examples"].map((name) => [name, new Part(h("div", {}))]));
  return {
    title: "Dead letters", page: "letters", kinds: ["letters"],
    element: h("div", {}, h("div", { class: "head" }, h("h1", {}, "Dead letters"), h("p", { class: "quiet" }, "Messages that the workers refused, whole in the topic dead-letter.")),
      h("div", { class: "grid" }, card("How many, by reason", {}, parts.counts.element), card("The newest", {}, parts.examples.element))),
    async update() {
      const found = await ask("dead-letters");
      parts.counts.show(found.counts, (counts) => table("Dead letters by reason", [
        ["reason", (row) => row.reason], ["messages", (row) => count(row.count), "num"], ["newest", (row) => moment(row.newest), "time"]], counts, { nothing: "No message was refused." }));
      parts.examples.show(found.examples, examples);
    },
  };
}
