// One alert: which requests, which layers, how it went, and what to do next.

import { ask } from "./api.js";
import { asTable, linesChart } from "./charts.js";
import { card, figures, h, Part, table } from "./dom.js";
import { chance, count, number, seconds, share, time } from "./format.js";
import { clientName, command, facts, isAboutClient, lasted, meter, modelLink, modelName, state, suspects, what } from "./pieces.js";

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
  const name = isAboutClient(alert) ? "evidence" : "highest score so far";
  const columns = [
    ["seen at", (step) => time(step.last_seen_at), "time"], ["state", (step) => `${step.status}, ${step.severity}`],
    ...(isAboutClient(alert) ? [["evidence", (step) => number(step.score), "num"]] : [
      ["highest score", (step) => number(step.score), "num"], ["contamination", (step) => share(step.contamination), "num"]])];
  return [
    linesChart(`${name.slice(0, 1).toUpperCase()}${name.slice(1)} at ${steps.length} times`, at, [
      [name, steps.map((step) => step.score), ""], ["threshold", steps.map((step) => step.threshold), "threshold"]],
    { points: true, bend: alert.threshold }),
    asTable("table-course", table("How it went", columns, steps)),
  ];
}

function places(alert) {
  return alert.window.offsets.map((place) => h("div", {}, `partition ${place.partition}, messages ${count(place.first)} to ${count(place.last)}`));
}

function about(alert) {
  return facts([
    isAboutClient(alert) && ["client", clientName(alert)],
    [isAboutClient(alert) ? "queries" : "window", `${count(alert.window.requests)} ${isAboutClient(alert) ? "of this client" : "requests"}, ${time(alert.window.first_event_time)} to ${time(alert.window.last_event_time)}`],
    [isAboutClient(alert) ? "offsets, with others between" : "offsets", places(alert)],
    ["baseline", h("code", {}, alert.baseline_sha256)],
    ["false alarms", `one in ${count(alert.average_run_length)} benign requests, on average${isAboutClient(alert) ? ", of all clients together" : ""}`],
    alert.atlas_technique && ["MITRE ATLAS", alert.atlas_technique],
    ["worker's version", alert.software_version],
    ["id", h("code", {}, alert.id)],
  ]);
}

const LABELS = {
  inspect: "A report on its requests, from Kafka while it keeps them",
  replay_offline: "Decide again on the recorded hours, without Kafka",
  replay: "The recorded hours again, through topics of their own",
};

const CLIENT = [
  "The queries of this client are nearer to one another than those of honest clients: inputs made from one another, by small steps or by mixing, are how somebody copies a model.",
  "Whoever asks about one and the same thing again and again, such as the frames of one object, looks like that as well.",
  "Look at the client's requests between the offsets below, then limit the client's rate, or end the account.",
];

function clientPage(alert, steps, commands) {
  return [
    figures([
      ["Evidence", number(alert.score), `threshold ${number(alert.threshold)}`, alert.status === "firing" ? "bad" : ""],
      ["Queries", count(alert.window.requests), "since the likeliest beginning"],
    ]),
    h("div", { class: "grid" },
      card("Who", { size: "half" }, h("p", {}, "Client ", clientName(alert)), CLIENT.map((text) => h("p", { class: "quiet" }, text))),
      card("How it went", { size: "half" }, course(alert, steps)),
      card("What to do next", {}, h("div", { class: "commands" }, Object.entries(commands).map(([name, text]) => command(text, LABELS[name])))),
      card("The queries", {}, about(alert)))];
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
      card("Most suspicious requests", { note: "the least typical first" },
        suspects(alert.most_suspicious, (request, place) => (request.input_ref && pictures ? `/api/alerts/${alert.id}/pictures/${place}` : null), pictures)),
      card("What to do next", {}, h("div", { class: "commands" }, Object.entries(commands).map(([name, text]) => command(text, LABELS[name])))),
      card("Layers", { size: "half", note: "the window with the highest score" }, layerTable(alert)),
      card("How it went", { size: "half" }, course(alert, steps)),
      card("The window", {}, about(alert)))];
}

export function alertPage(id) {
  const part = new Part(h("div", {}));
  return {
    title: `Alert ${id.slice(0, 12)}`, page: "alerts", element: part.element, kinds: ["alerts"],
    async update() {
      part.show(await ask(`alerts/${encodeURIComponent(id)}`), draw);
    },
  };
}
