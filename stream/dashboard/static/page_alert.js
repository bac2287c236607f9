// One alert: its requests, its layers, its course, and what to do next.

import { ask } from "./api.js";
import { asTable, linesChart } from "./charts.js";
import { card, figures, h, Section, table } from "./dom.js";
import { chance, count, number, seconds, share, time } from "./format.js";
import { clientName, command, facts, isAboutClient, lasted, meter, modelLink, modelName, state, suspects, what } from "./shared.js";

function layerTable(alert) {
  const layers = Object.entries(alert.layers);
  const most = 1.05 * Math.max(alert.threshold, ...layers.map(([, layer]) => layer.score));
  return table("Layers", [
    ["layer", ([name]) => name, "long"],
    ["score", ([, layer]) => number(layer.score), "num"],
    ["against the threshold", ([, layer]) => meter(layer.score, alert.threshold, most)],
    ["T", ([, layer]) => number(layer.T), "num"],
    ["E", ([, layer]) => number(layer.E), "num"],
  ], layers);
}

function course(alert, steps) {
  const at = steps.map((step) => seconds(step.last_seen_at));
  const name = isAboutClient(alert) ? "evidence" : "peak score";
  const columns = [
    ["last seen", (step) => time(step.last_seen_at), "time"], ["state", (step) => `${step.status}, ${step.severity}`],
    ...(isAboutClient(alert) ? [["evidence", (step) => number(step.score), "num"]] : [
      ["peak score", (step) => number(step.score), "num"], ["contamination", (step) => share(step.contamination), "num"]])];
  return [
    linesChart(`${name.slice(0, 1).toUpperCase()}${name.slice(1)} at ${steps.length} times`, at, [
      [name, steps.map((step) => step.score), ""], ["threshold", steps.map((step) => step.threshold), "threshold"]],
    { points: true, bend: alert.threshold }),
    asTable("table-course", table("States of the alert", columns, steps)),
  ];
}

function places(alert) {
  return alert.window.offsets.map((place) => h("div", {}, `partition ${place.partition}, offsets ${count(place.first)} to ${count(place.last)}`));
}

function about(alert) {
  return facts([
    isAboutClient(alert) && ["client", clientName(alert)],
    [isAboutClient(alert) ? "queries" : "window", `${count(alert.window.requests)} ${isAboutClient(alert) ? "of this client" : "requests"}, ${time(alert.window.first_event_time)} to ${time(alert.window.last_event_time)}`],
    [isAboutClient(alert) ? "offsets, other clients in between" : "offsets", places(alert)],
    ["baseline", h("code", {}, alert.baseline_sha256)],
    ["false alarms", `one per ${count(alert.average_run_length)} benign requests on average${isAboutClient(alert) ? ", across all clients" : ""}`],
    alert.atlas_technique && ["MITRE ATLAS", alert.atlas_technique],
    ["worker version", alert.software_version],
    ["id", h("code", {}, alert.id)],
  ]);
}

const LABELS = {
  inspect: "Report on its requests, while Kafka still has them",
  replay_offline: "Replay the recorded hours offline, without Kafka",
  replay: "Replay the recorded hours through separate topics",
};

const CLIENT = [
  "This client's queries are closer to each other than those of honest clients. Deriving inputs from each other, by small steps or by mixing, is how a model is extracted.",
  "A client that keeps asking about the same thing, such as frames of one object, looks similar.",
  "Review the client's requests in the offsets below, then limit the client's rate or close the account.",
];

function clientPage(alert, steps, commands) {
  return [
    figures([
      ["Evidence", number(alert.score), `threshold ${number(alert.threshold)}`, alert.status === "firing" ? "bad" : ""],
      ["Queries", count(alert.window.requests), "since the most likely start"],
    ]),
    h("div", { class: "grid" },
      card("Client", { size: "half" }, h("p", {}, "Client ", clientName(alert)), CLIENT.map((text) => h("p", { class: "quiet" }, text))),
      card("Evidence over time", { size: "half" }, course(alert, steps)),
      card("What to do next", {}, h("div", { class: "commands" }, Object.entries(commands).map(([name, text]) => command(text, LABELS[name])))),
      card("Queries", {}, about(alert)))];
}

function draw({ alert, steps, commands, pictures }) {
  const page = isAboutClient(alert) ? clientPage(alert, steps, commands) : windowPage(alert, steps, commands, pictures);
  return h("div", {},
    h("div", { class: "head" }, h("h1", {}, `${what(alert)} on `, h("a", { href: modelLink(alert.model, alert.version) }, modelName(alert))), state(alert),
      h("p", { class: "quiet" }, `Partition ${alert.partition}. Fired at ${time(alert.fired_at)}, last seen at ${time(alert.last_seen_at)}: ${lasted(alert)}.`)),
    page);
}

function windowPage(alert, steps, commands, pictures) {
  return [
    figures([
      ["Score", number(alert.score), `threshold ${number(alert.threshold)}`, alert.status === "firing" ? "bad" : ""],
      ["Contamination", share(alert.contamination), `at least ${share(alert.contamination_lower_bound)}`],
      ["p-value", chance(alert.p_value), "of the window"],
      ["Requests", count(alert.window.requests), "in the window"],
    ]),
    h("div", { class: "grid" },
      card("Most suspicious requests", { note: "least typical first" },
        suspects(alert.most_suspicious, (request, place) => (request.input_ref && pictures ? `/api/alerts/${alert.id}/pictures/${place}` : null), pictures)),
      card("What to do next", {}, h("div", { class: "commands" }, Object.entries(commands).map(([name, text]) => command(text, LABELS[name])))),
      card("Layers", { size: "half", note: "in the window with the highest score" }, layerTable(alert)),
      card("Score over time", { size: "half" }, course(alert, steps)),
      card("Window", {}, about(alert)))];
}

export function alertPage(id) {
  const section = new Section(h("div", {}));
  return {
    title: `Alert ${id.slice(0, 12)}`, page: "alerts", element: section.element, kinds: ["alerts"],
    async update() {
      section.show(await ask(`alerts/${encodeURIComponent(id)}`), draw);
    },
  };
}
