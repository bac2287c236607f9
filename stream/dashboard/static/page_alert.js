// One alert: which requests, which layers, how it went, and what to do next.

import { ask } from "./api.js";
import { asTable, linesChart } from "./charts.js";
import { card, figures, h, Part, table } from "./dom.js";
import { chance, count, number, seconds, share, time } from "./format.js";
import { command, facts, lasted, meter, modelLink, modelName, state, suspects, what } from "./pieces.js";

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
  const columns = [
    ["seen at", (step) => time(step.last_seen_at), "time"], ["state", (step) => `${step.status}, ${step.severity}`],
    ["highest score", (step) => number(step.score), "num"], ["contamination", (step) => share(step.contamination), "num"]];
  return [
    linesChart(`Highest score so far at ${steps.length} times`, at, [
      ["highest score so far", steps.map((step) => step.score), ""], ["threshold", steps.map((step) => step.threshold), "threshold"]],
    { points: true, bend: alert.threshold }),
    asTable("table-course", table("How it went", columns, steps)),
  ];
}

function places(alert) {
  return alert.window.offsets.map((place) => h("div", {}, `partition ${place.partition}, messages ${count(place.first)} to ${count(place.last)}`));
}

function about(alert) {
  return facts([
    ["window", `${count(alert.window.requests)} requests, ${time(alert.window.first_event_time)} to ${time(alert.window.last_event_time)}`],
    ["offsets", places(alert)],
    ["baseline", h("code", {}, alert.baseline_sha256)],
    ["false alarms", `one in ${count(alert.average_run_length)} benign requests, on average`],
    alert.atlas_technique && ["MITRE ATLAS", alert.atlas_technique],
    ["worker's version", alert.software_version],
    ["id", h("code", {}, alert.id)],
  ]);
}

const LABELS = {
  inspect: "A report on the requests of its window, from Kafka while it keeps them",
  replay_offline: "Decide again on the recorded hours, without Kafka",
  replay: "The recorded hours again, through topics of their own",
};

function draw({ alert, steps, commands, pictures }) {
  return h("div", {},
    h("div", { class: "head" }, h("h1", {}, `${what(alert)} on `, h("a", { href: modelLink(alert.model, alert.version) }, modelName(alert))), state(alert),
      h("p", { class: "quiet" }, `Partition ${alert.partition}. Fired at ${time(alert.fired_at)}, last seen at ${time(alert.last_seen_at)}: ${lasted(alert)}.`)),
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
      card("The window", {}, about(alert))));
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
