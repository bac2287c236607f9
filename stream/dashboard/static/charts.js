// Charts: uPlot with our colours and time axis, and the spans of alerts behind the lines.

import { h } from "./dom.js";
import { clock, count, day, number, share, tick } from "./format.js";

const { uPlot } = window;
const HOUR = 3600;

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();

export const LINES = ["one", "two", "three", "four", "five"];

function times(chart, places) {
  const step = places.length > 1 ? places[1] - places[0] : HOUR;
  let before = "";
  return places.map((at) => {
    const today = day(at);
    const first = today !== before;
    before = today;
    const text = step >= 86400 ? today : clock(at, step < 60);
    return first && step < 86400 ? `${text}\n${today}` : text;
  });
}

function axis(values, more = {}) {
  return {
    stroke: colour("soft"), font: "12px system-ui, sans-serif", ticks: { show: false }, values,
    grid: { stroke: colour("grid"), width: 1 }, ...more,
  };
}

function bands(spans) {
  return (chart) => {
    const { ctx, bbox } = chart;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.fillStyle = colour("band");
    for (const [first, last] of spans) {
      const left = chart.valToPos(first, "x", true);
      const width = Math.max(2 * devicePixelRatio, chart.valToPos(last, "x", true) - left);
      ctx.fillRect(left, bbox.top, width, bbox.height);
    }
    ctx.restore();
  };
}

const live = new Set();

// An element whose chart follows its width, and is redrawn when the colour theme changes.
function plot(label, height, options, data) {
  const place = h("div", { class: "chart", role: "img", "aria-label": label });
  let chart = null;
  const draw = () => {
    chart?.destroy();
    const width = Math.max(place.clientWidth, 120);
    chart = new uPlot({
      width, height, tzDate: (at) => uPlot.tzDate(new Date(1000 * at), "UTC"), cursor: { points: { size: 7 }, drag: { x: true, y: false } },
      legend: { live: true }, padding: [10, 20, 0, 0], ...options(),
    }, data, place);
  };
  const watch = new ResizeObserver(() => {
    if (!place.isConnected) return;
    if (chart === null) draw();
    else if (chart.width !== place.clientWidth) chart.setSize({ width: place.clientWidth, height });
  });
  watch.observe(place);
  live.add(place);
  place.redraw = () => chart !== null && draw();
  return place;
}

export function redrawAll() {
  for (const place of live) {
    if (place.isConnected) place.redraw();
    else live.delete(place);
  }
}

const shown = (write) => (chart, value) => (value === null || value === undefined ? "" : write(value));

// rows: {at, requests, flagged, rate}, one per hour
export function hoursChart(label, rows, spans) {
  const at = rows.map((row) => row.at + HOUR / 2);
  const data = [at, ...["requests", "flagged", "rate"].map((name) => rows.map((row) => row[name]))];
  const bars = uPlot.paths.bars({ size: [0.72, 56], radius: 0.08 });
  const whole = shown(count);
  return plot(label, 260, () => ({
    scales: {
      x: { time: true, range: (_, first, last) => [first - 0.6 * HOUR, last + 0.6 * HOUR] },
      requests: { range: (_, low, high) => [0, 1.15 * Math.max(high, 1)] },
      rate: { range: (_, low, high) => [0, Math.max(1.25 * high, 0.05)] },
    },
    axes: [
      axis(times, { grid: { show: false }, incrs: [1, 2, 3, 6, 12, 24, 48, 168].map((n) => n * HOUR) }),
      axis((_, values) => values.map(count), { scale: "requests", size: 56 }),
      axis((_, values) => values.map((value) => share(value, value < 0.1 && value % 0.01 > 1e-9 ? 1 : 0)), { scale: "rate", side: 1, size: 46, grid: { show: false } }),
    ],
    series: [
      { label: "hour", value: (chart, value) => (value === null ? "" : `${day(value)} ${clock(value - HOUR / 2)}`) },
      { label: "requests", scale: "requests", paths: bars, fill: colour("bars"), stroke: colour("bars"), width: 0, points: { show: false }, value: whole },
      { label: "flagged", scale: "requests", paths: bars, fill: colour("hit"), stroke: colour("hit"), width: 0, points: { show: false }, value: whole },
      { label: "detection rate", scale: "rate", stroke: colour("rate"), width: 2, points: { show: true, size: 6, fill: colour("card") }, value: shown((value) => share(value)) },
    ],
    hooks: { drawClear: [bands(spans)] },
  }), data);
}

// lines: [name, values, "threshold" or ""]; at: seconds since 1970
export function linesChart(label, at, lines, { spans = [], height = 190, points = false, whole = false, bend = 0 } = {}) {
  const write = whole ? count : number;
  // linear up to the bend and logarithmic above it, so that a strong attack does not hide the threshold
  const scale = bend ? { distr: 4, asinh: bend } : {};
  const decades = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].flatMap((n) => [10 ** n, 3 * 10 ** n]);
  const steps = bend ? {
    splits: (_, axis, low, high) => [0, ...decades.filter((step) => step >= bend && step <= high)],
    filter: (_, places) => places,
  } : {};
  const solo = at.length < 3;
  return plot(label, height, () => ({
    scales: {
      // for a single point the library would show years
      x: { time: true, range: (_, first, last) => (at.length === 1 ? [at[0] - 1800, at[0] + 1800] : [first, last]) },
      y: { ...scale, range: (_, low, high) => [Math.min(0, low), high > 0 ? 1.12 * high : 1] },
    },
    axes: [axis(times, { grid: { show: false }, space: 60 }), axis((_, values) => values.map(tick), { size: 48, ...steps })],
    series: [
      { label: "at", value: (chart, value) => (value === null ? "" : `${day(value)} ${clock(value, true)}`) },
      ...lines.map(([name, , kind], index) => ({
        label: name, value: shown(write), width: kind ? 1.5 : 1.75, spanGaps: true,
        stroke: colour(kind ? "bad" : LINES[index % LINES.length]), dash: kind ? [5, 4] : undefined,
        points: { show: (points || solo) && !kind, size: 5 },
      })),
    ],
    hooks: { drawClear: [bands(spans)] },
  }), [at, ...lines.map(([, values]) => values)]);
}

// The data of a chart as a table, for people who cannot see it.
export function asTable(id, content) {
  return h("details", { id }, h("summary", {}, "Show as table"), content);
}
