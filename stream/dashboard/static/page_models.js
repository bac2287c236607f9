// All model versions at a glance, the open alerts, and the list of alerts.

import { ask } from "./api.js";
import { card, h, Section, table } from "./dom.js";
import { count, hourName, share } from "./format.js";
import { alertTable, modelLink, modelName, tag } from "./shared.js";

function modelState(found) {
  if (found.firing) return tag(`${found.firing} firing`, "bad");
  if (found.newest_hour && found.newest_hour.status !== "ok") return tag(found.newest_hour.status.replace("-", " "), "warn");
  return tag("quiet", "good");
}

const latest = (read) => (found) => (found.newest_hour ? read(found.newest_hour) : "–");

function modelTable(models) {
  return table("Models and their latest hour", [
    ["model", (found) => h("a", { href: modelLink(found.model, found.version), id: `model-${modelName(found)}` }, modelName(found)), "long"],
    ["state", modelState],
    ["latest hour", latest((hour) => hourName(hour.hour)), "time"],
    ["requests", latest((hour) => count(hour.requests)), "num"],
    ["flagged", latest((hour) => count(hour.flagged)), "num"],
    ["detection rate", latest((hour) => (hour.status === "ok" ? share(hour.detection_rate) : "–")), "num"],
    ["windows over threshold", latest((hour) => `${count(hour.alarms)} of ${count(hour.windows)}`), "num"],
    ["alerts", (found) => count(found.alerts), "num"],
  ], models, { nothing: "No hours or alerts yet. An hour appears once it is over." });
}

export function modelsPage() {
  const models = new Section(h("div", {}));
  const alerts = new Section(h("div", {}));
  const element = h("div", {},
    h("div", { class: "head" }, h("h1", {}, "Models")),
    h("div", { class: "grid" }, card("Model versions", {}, models.element), card("Open alerts", {}, alerts.element)));
  return {
    title: "Models", page: "models", element, kinds: ["alerts", "hours"],
    async update() {
      const [found, firing] = await Promise.all([ask("models"), ask("alerts", { status: "firing" })]);
      models.show(found, modelTable);
      alerts.show(firing, (list) => alertTable(list, { nothing: "No alerts are firing." }));
    },
  };
}

export function alertsPage() {
  const section = new Section(h("div", {}));
  const more = h("p", {});
  let all = [];
  const older = async () => {
    const next = await ask("alerts", { before: all.at(-1).fired_at });
    all = [...all, ...next];
    show(next.length === 100);
  };
  const show = (isMore) => {
    section.show(all, (list) => alertTable(list));
    more.replaceChildren(...(isMore ? [h("button", { type: "button", onclick: older }, "Show older alerts")] : []));
  };
  return {
    title: "Alerts", page: "alerts", kinds: ["alerts"],
    element: h("div", {}, h("div", { class: "head" }, h("h1", {}, "Alerts")),
      h("div", { class: "grid" }, card("Open and past alerts", {}, section.element, more))),
    async update() {
      const first = await ask("alerts");
      const last = first.at(-1)?.fired_at ?? "";
      all = [...first, ...all.filter((alert) => alert.fired_at < last)];
      show(all.length >= 100);
    },
  };
}
