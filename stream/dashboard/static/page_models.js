// All model versions at one glance, and the alerts that are open.

import { ask } from "./api.js";
import { card, h, Part, table } from "./dom.js";
import { count, hourName, share } from "./format.js";
import { alertTable, modelLink, modelName, tag } from "./pieces.js";

function modelState(found) {
  if (found.firing) return tag(`${found.firing} firing`, "bad");
  if (found.newest_hour && found.newest_hour.status !== "ok") return tag(found.newest_hour.status.replace("-", " "), "warn");
  return tag("calm", "good");
}

const newest = (read) => (found) => (found.newest_hour ? read(found.newest_hour) : "–");

function modelTable(models) {
  return table("Models and their newest hour", [
    ["model", (found) => h("a", { href: modelLink(found.model, found.version), id: `model-${modelName(found)}` }, modelName(found)), "long"],
    ["state", modelState],
    ["newest hour", newest((hour) => hourName(hour.hour)), "time"],
    ["requests", newest((hour) => count(hour.requests)), "num"],
    ["flagged", newest((hour) => count(hour.flagged)), "num"],
    ["detection rate", newest((hour) => (hour.status === "ok" ? share(hour.detection_rate) : "–")), "num"],
    ["windows over the threshold", newest((hour) => `${count(hour.alarms)} of ${count(hour.windows)}`), "num"],
    ["alerts so far", (found) => count(found.alerts), "num"],
  ], models, { nothing: "No hour and no alert was published so far. An hour appears when it is over." });
}

export function modelsPage() {
  const models = new Part(h("div", {}));
  const alerts = new Part(h("div", {}));
  const element = h("div", {},
    h("div", { class: "head" }, h("h1", {}, "Models")),
    h("div", { class: "grid" }, card("Model versions", {}, models.element), card("Open alerts", {}, alerts.element)));
  return {
    title: "Models", page: "models", element, kinds: ["alerts", "hours"],
    async update() {
      const [found, firing] = await Promise.all([ask("models"), ask("alerts", { status: "firing" })]);
      models.show(found, modelTable);
      alerts.show(firing, (list) => alertTable(list, { nothing: "No alert is firing." }));
    },
  };
}

export function alertsPage() {
  const part = new Part(h("div", {}));
  const more = h("p", {});
  let all = [];
  const older = async () => {
    const next = await ask("alerts", { before: all.at(-1).fired_at });
    all = [...all, ...next];
    show(next.length === 100);
  };
  const show = (isMore) => {
    part.show(all, (list) => alertTable(list));
    more.replaceChildren(...(isMore ? [h("button", { type: "button", onclick: older }, "Older ones")] : []));
  };
  return {
    title: "Alerts", page: "alerts", kinds: ["alerts"],
    element: h("div", {}, h("div", { class: "head" }, h("h1", {}, "Alerts")),
      h("div", { class: "grid" }, card("Open and past alerts", {}, part.element, more))),
    async update() {
      const first = await ask("alerts");
      const last = first.at(-1)?.fired_at ?? "";
      all = [...first, ...all.filter((alert) => alert.fired_at < last)];
      show(all.length >= 100);
    },
  };
}
