// Elements that several pages share.

import { h, svg, table } from "./dom.js";
import { chance, number, seconds, share, span, time } from "./format.js";

export const modelLink = (model, version) => `#/model/${encodeURIComponent(model)}/${encodeURIComponent(version)}`;
export const modelName = (found) => `${found.model}/${found.version}`;

export function tag(text, kind) {
  return h("span", { class: `tag ${kind}` }, text);
}

export function state(alert) {
  if (alert.status !== "firing") return tag("resolved", "calm");
  return tag(`firing, ${alert.severity}`, alert.severity === "critical" ? "bad" : "warn");
}

// Whether an alert is about one client's queries rather than a window of requests.
export const isAboutClient = (alert) => alert.pattern === "extraction";

// A client's name in its own writing direction; clients choose it freely.
export const clientName = (alert) => h("bdi", { class: "name" }, alert.client ?? "(unknown)");

export const what = (alert) => isAboutClient(alert) ? "Model extraction" : alert.pattern === "drift" ? "Data drift" : `${alert.pattern.slice(0, 1).toUpperCase()}${alert.pattern.slice(1)} requests`;

export const lasted = (alert) => span(seconds(alert.last_seen_at) - seconds(alert.fired_at));

export function alertTable(alerts, { withModel = true, nothing = "No alerts yet." } = {}) {
  return table("Alerts, latest first", [
    ["alert", (alert) => [
      h("a", { href: `#/alert/${encodeURIComponent(alert.id)}`, id: `alert-${alert.id}` }, what(alert)),
      isAboutClient(alert) && h("div", { class: "quiet" }, "client ", clientName(alert))]],
    ["state", state],
    ...(withModel ? [["model", (alert) => h("a", { href: modelLink(alert.model, alert.version) }, modelName(alert)), "long"]] : []),
    ["partition", (alert) => alert.partition, "num"],
    ["fired at", (alert) => time(alert.fired_at), "time"],
    ["lasted", lasted, "time"],
    ["score", (alert) => `${number(alert.score)} (≥ ${number(alert.threshold)})`, "num"],
    ["contamination", (alert) => isAboutClient(alert) ? "–" : `${share(alert.contamination)} (≥ ${share(alert.contamination_lower_bound)})`, "num"],
    ["id", (alert) => h("code", {}, alert.id.slice(0, 12))],
  ], alerts, { nothing });
}

// A score as a bar, with a mark at the threshold.
export function meter(value, threshold, most) {
  const place = (score) => 100 * Math.min(Math.max(score / most, 0), 1);
  const mark = place(threshold);
  return h("div", { class: "meter", role: "img", "aria-label": `score ${number(value)}, threshold ${number(threshold)}` },
    svg("svg", { viewBox: "0 0 100 8", preserveAspectRatio: "none" },
      svg("rect", { x: 0, y: 0, width: place(value), height: 8, class: value >= threshold ? "over" : "" }),
      svg("line", { x1: mark, x2: mark, y1: 0, y2: 8 })));
}

function frame(source, reference, why) {
  const place = h("div", { class: "frame" });
  const nothing = () => place.replaceChildren(h("span", {}, why));
  if (!source) {
    nothing();
    return place;
  }
  place.append(h("img", { src: source, alt: `Input ${reference}`, loading: "lazy", decoding: "async", onerror: nothing }));
  return place;
}

// requests: suspects; source(request, place): URL of the picture, or null
export function suspects(requests, source, pictures) {
  const why = (request) => (!request.input_ref ? "no input reference" : pictures ? "no picture available" : "pictures are off (--inputs)");
  return h("ol", { class: "suspects" }, requests.map((request, place) => h("li", {},
    frame(source(request, place), request.input_ref ?? "", why(request)),
    h("dl", {},
      h("dd", { class: "name" }, request.request_id),
      h("dt", {}, "p-value"), h("dd", {}, chance(request.p_value)),
      h("dt", {}, "squared distance"), h("dd", {}, number(request.energy)),
      h("dt", {}, "class"), h("dd", {}, request.predicted_class),
      h("dt", {}, "time"), h("dd", {}, time(request.event_time)),
      h("dt", {}, "offset"), h("dd", {}, `${request.partition}/${request.offset}`)))));
}

export function command(text, label) {
  const written = h("pre", { tabindex: "0" }, text);
  const button = h("button", { type: "button", "aria-label": `Copy: ${label}`, onclick: async () => {
    // browsers block the clipboard on pages of other machines without HTTPS; select the text then
    getSelection().selectAllChildren(written);
    await navigator.clipboard?.writeText(text).catch(() => undefined);
    button.textContent = navigator.clipboard ? "Copied" : "Selected";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  } }, "Copy");
  return h("div", {}, h("p", { class: "quiet" }, label), h("div", { class: "command" }, written, button));
}

export function facts(list) {
  return h("dl", { class: "facts" }, list.filter(Boolean).map(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]));
}
