// Lines of the charts of score, T and E: by window, from the workers' samples, or by hour.

import { seconds } from "./format.js";

const MOST_PLACES = 240;

const NAMES = ["score", "T", "E"];

function lines(at, layers, find) {
  const found = { at };
  for (const name of NAMES) found[name] = layers.map((layer) => [layer || "all", at.map((moment) => find(moment, layer)?.[name] ?? null), ""]);
  return found;
}

// Of windows too close to each other to distinguish, the one with the highest score.
export function byWindow(layers) {
  const whole = layers[""] ?? [];
  if (!whole.length) return { at: [], score: [], T: [], E: [] };
  const step = Math.max(1, (whole.at(-1).at - whole[0].at) / MOST_PLACES);
  const place = (at) => Math.round(at / step) * step;
  const best = new Map();
  for (const [layer, points] of Object.entries(layers)) {
    for (const point of points) {
      const key = `${layer}|${place(point.at)}`;
      if (!best.has(key) || best.get(key).score < point.score) best.set(key, point);
    }
  }
  const at = [...new Set(whole.map((point) => place(point.at)))].sort((a, b) => a - b);
  const find = (moment, layer) => best.get(`${layer}|${moment}`);
  const found = lines(at, Object.keys(layers).filter(Boolean), find);
  found.score.push(["threshold", at.map((moment) => find(moment, "")?.threshold ?? null), "threshold"]);
  return found;
}

// An hour has no threshold of its own, so the threshold of the windows is shown. Alerts: those about windows.
export function byHour(rates, alerts) {
  const rows = new Map(rates.map((rate) => [`${rate.layer}|${seconds(rate.hour)}`, rate]));
  const at = [...new Set(rates.map((rate) => seconds(rate.hour)))].sort((a, b) => a - b);
  const layers = [...new Set(rates.map((rate) => rate.layer))].filter(Boolean);
  const found = lines(at, layers, (moment, layer) => rows.get(`${layer}|${moment}`));
  if (alerts.length && at.length) found.score.push(["threshold of a window", at.map(() => alerts[0].threshold), "threshold"]);
  return found;
}
