// One model version: its hours, T and E over time, alerts and flagged requests.

import { ask } from "./api.js";
import { asTable, hoursChart, linesChart } from "./charts.js";
import { card, choice, figures, h, Section, table } from "./dom.js";
import { chance, count, hourName, moment, number, seconds, share } from "./format.js";
import { alertTable, isAboutClient, suspects, tag } from "./shared.js";
import { byHour, byWindow } from "./series.js";

const HOUR = 3600;
const MOST_GAPS = 24 * 31;

// One row per hour: what all layers share, and the highest of the values that differ.
export function hoursOf(rates) {
  const hours = new Map();
  for (const rate of rates) {
    const known = hours.get(rate.hour);
    const lower = Math.max(rate.contamination_lower_bound ?? 0, known?.contamination_lower_bound ?? 0);
    const higher = known && (known.contamination ?? -1) >= (rate.contamination ?? -1) ? known : rate;
    hours.set(rate.hour, { ...higher, contamination_lower_bound: lower });
  }
  return [...hours.values()];
}

function withGaps(hours) {
  const rows = hours.map((hour) => ({
    at: seconds(hour.hour), requests: hour.requests, flagged: hour.flagged, rate: hour.status === "ok" ? hour.detection_rate : null,
  }));
  if (rows.length < 2 || (rows.at(-1).at - rows[0].at) / HOUR > MOST_GAPS) return rows;
  const known = new Map(rows.map((row) => [row.at, row]));
  const filled = [];
  for (let at = rows[0].at; at <= rows.at(-1).at; at += HOUR) filled.push(known.get(at) ?? { at, requests: null, flagged: null, rate: null });
  return filled;
}

function hoursTable(hours) {
  return table("Hours, latest first", [
    ["hour", (hour) => hourName(hour.hour), "time"],
    ["requests", (hour) => count(hour.requests), "num"],
    ["flagged", (hour) => count(hour.flagged), "num"],
    ["detection rate", (hour) => (hour.status === "ok" ? share(hour.detection_rate) : hour.status), "num"],
    ["contamination", (hour) => `${share(hour.contamination)} (≥ ${share(hour.contamination_lower_bound, 0)})`, "num"],
    ["p-value", (hour) => chance(hour.p_value), "num"],
    ["windows over threshold", (hour) => `${count(hour.alarms)} of ${count(hour.windows)}`, "num"],
    ["late", (hour) => count(hour.late), "num"],
    ["repeated", (hour) => count(hour.repeated), "num"],
    ["unjudged", (hour) => count(hour.unjudged), "num"],
    ["revision", (hour) => hour.revision, "num"],
  ], [...hours].reverse());
}

function summary({ hours, firing, lag }) {
  const last = hours.at(-1);
  const name = last ? hourName(last.hour) : "";
  const over = last ? last.alarms / Math.max(last.windows, 1) : 0;
  return figures([
    ["Open alerts", count(firing), firing ? "firing now" : "none firing", firing ? "bad" : ""],
    last && ["Detection rate", last.status === "ok" ? share(last.detection_rate) : "–", `hour of ${name}`],
    last && ["Requests", count(last.requests), `${count(last.flagged)} flagged in that hour`],
    last && ["Contamination", share(last.contamination), `at least ${share(last.contamination_lower_bound)}`],
    last && ["Windows over threshold", share(over, 0), `${count(last.alarms)} of ${count(last.windows)}`],
    ["Worker lag", count(lag), "messages not committed"],
  ]);
}

const spansOf = (alerts) => alerts.map((alert) => [seconds(alert.fired_at), seconds(alert.last_seen_at)]);

// Linear up to the threshold to separate small scores, logarithmic above it.
const bendOf = (lines) => Math.max(1, ...lines.filter(([, , kind]) => kind).flatMap(([, values]) => values));

function statisticCharts(found) {
  const { series, spans, mode } = found;
  const names = { score: "Score", T: "T: has the mean shifted?", E: "E: are single requests off the manifold?" };
  return h("div", { class: "grid" }, Object.entries(names).map(([key, title]) => {
    const lines = series[key];
    const rows = series.at.map((at, index) => [at, ...lines.map(([, values]) => values[index])]).slice(-200).reverse();
    const columns = [["time", (row) => moment(row[0]), "time"], ...lines.map(([name], index) => [name, (row) => number(row[index + 1]), "num"])];
    return h("div", { class: "card third" },
      h("header", {}, h("h2", {}, title)),
      linesChart(`${title}, by ${mode}: ${lines.map(([name]) => name).join(", ")}`, series.at, lines, { spans, points: mode === "hour", bend: key === "score" ? bendOf(lines) : 0 }),
      asTable(`table-${key}`, table(title, columns, rows)));
  }));
}

function flaggedCard(model, version, found, pictures) {
  return suspects(found.map((one) => one.request), (request, place) => (request.input_ref ? `/api/flagged/${found[place].number}/picture` : null), pictures);
}

export function modelPage(model, version) {
  const sections = Object.fromEntries(["figures", "hours", "statistics", "alerts", "flagged", "mode", "hour", "state"].map((name) => [name, new Section(h("div", {}))]));
  let mode = "";
  let hour = "";
  let data = null;

  function showStatistics() {
    const { rates, samples } = data;
    // evidence against a client is on another scale than the scores of windows
    const alerts = data.alerts.filter((alert) => !isAboutClient(alert));
    const windows = Object.values(samples.layers).some((points) => points.length > 1);
    const chosen = mode || (windows ? "window" : "hour");
    sections.mode.show([chosen, windows], () => (windows
      ? choice("by", [["window", "by window"], ["hour", "by hour"]], chosen, (value) => { mode = value; showStatistics(); })
      : h("span", { class: "quiet" }, "pass --worker URL to see each window")));
    const series = chosen === "window" ? byWindow(samples.layers) : byHour(rates, alerts);
    sections.statistics.show({ series, spans: spansOf(alerts), mode: chosen }, (found) => (found.series.at.length ? statisticCharts(found) : h("p", { class: "quiet" }, "No data yet.")));
  }

  async function showFlagged() {
    const hours = data.hours.filter((found) => found.flagged > 0).map((found) => found.hour).reverse();
    const chosen = hours.includes(hour) ? hour : hours[0];
    sections.hour.show([hours, chosen], () => (hours.length
      ? h("label", {}, h("span", { class: "unseen" }, "Hour"), h("select", { id: "flagged-hour", onchange: (event) => { hour = event.target.value; showFlagged(); } },
        hours.map((name) => h("option", { value: name, selected: name === chosen }, hourName(name)))))
      : h("span", {})));
    const found = chosen ? await ask("flagged", { model, version, hour: chosen, most: 12 }) : [];
    sections.flagged.show(found, (list) => (list.length ? flaggedCard(model, version, list, true) : h("p", { class: "quiet" }, "No requests were flagged in this hour.")));
  }

  const element = h("div", {},
    h("div", { class: "head" }, h("h1", {}, `${model}/${version}`), sections.state.element),
    sections.figures.element,
    h("div", { class: "grid" },
      card("Requests and detection rate by hour", { note: "red: an alert was firing" }, sections.hours.element),
      h("section", { class: "card", "aria-label": "T and E over time" },
        h("header", {}, h("h2", {}, "T and E over time"), h("span", { class: "quiet" }, "highest across partitions"), h("span", { class: "right" }, sections.mode.element)),
        sections.statistics.element),
      card("Alerts", {}, sections.alerts.element),
      card("Flagged requests", { note: "least typical of the hour", right: sections.hour.element }, sections.flagged.element)));
  return {
    title: `${model}/${version}`, page: "models", element, model: { model, version }, kinds: ["alerts", "hours", "samples", "workers"],
    async update(kinds) {
      const name = { model, version };
      const fresh = (kind, path, parameters, old) => (!data || !kinds.size || kinds.has(kind) ? ask(path, parameters) : old);
      const [rates, samples, alerts, firing, workers] = await Promise.all([
        fresh("hours", "hours", name, data?.rates), fresh("samples", "samples", name, data?.samples),
        fresh("alerts", "alerts", { ...name, most: 200 }, data?.alerts), fresh("alerts", "alerts", { ...name, status: "firing" }, data?.firing),
        fresh("workers", "workers", { hours: 0.01 }, data?.workers)]);
      const hoursChanged = data?.rates !== rates;
      data = { rates, samples, alerts, firing, workers, hours: hoursOf(rates) };
      sections.state.show(firing.length, (open) => (open ? tag(`${open} firing`, "bad") : tag("quiet", "good")));
      sections.figures.show({ hours: data.hours.slice(-1), firing: firing.length, lag: workers.lag }, summary);
      sections.hours.show({ hours: data.hours, spans: spansOf(alerts) }, ({ hours, spans }) => (hours.length
        ? [hoursChart(`Requests and detection rate of ${hours.length} hours`, withGaps(hours), spans), asTable("table-hours", hoursTable(hours))]
        : h("p", { class: "quiet" }, "No hours yet. An hour appears once it is over.")));
      showStatistics();
      sections.alerts.show(alerts.slice(0, 20), (list) => alertTable(list, { withModel: false }));
      if (hoursChanged) await showFlagged();
    },
  };
}
