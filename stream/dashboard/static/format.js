// Formats numbers and times for people, in UTC.

const whole = new Intl.NumberFormat("en");
const NONE = "–";

export const count = (value) => (value === null || value === undefined ? NONE : whole.format(value));

export function share(value, digits = 1) {
  return value === null || value === undefined ? NONE : `${(100 * value).toFixed(digits)}%`;
}

export function number(value) {
  if (value === null || value === undefined) return NONE;
  const size = Math.abs(value);
  if (size >= 10000) return whole.format(Math.round(value));
  return size >= 100 ? value.toFixed(0) : size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

const short = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 2 });

// Labels of an axis: no more digits than its steps need, and no more than fit next to it.
export function tick(value) {
  if (value === null) return "";
  const size = Math.abs(value);
  return size >= 1e6 ? short.format(value) : size >= 10000 ? whole.format(value) : String(Number(value.toPrecision(4)));
}

export function chance(value) {
  if (value === null || value === undefined) return NONE;
  return value >= 0.001 ? value.toFixed(4).replace(/0+$/, "") : value.toExponential(1);
}

export const seconds = (text) => Date.parse(text.replace(/(\.\d{3})\d+Z$/, "$1Z")) / 1000;

const two = (value) => String(value).padStart(2, "0");

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

export function day(at) {
  const moment = new Date(1000 * at);
  return `${moment.getUTCDate()} ${MONTHS[moment.getUTCMonth()]}`;
}

export function clock(at, withSeconds = false) {
  const moment = new Date(1000 * at);
  const text = `${two(moment.getUTCHours())}:${two(moment.getUTCMinutes())}`;
  return withSeconds ? `${text}:${two(moment.getUTCSeconds())}` : text;
}

export const time = (text) => `${day(seconds(text))} ${clock(seconds(text), true)}`;
export const hourName = (text) => `${day(seconds(text))} ${clock(seconds(text))}`;
export const moment = (at) => `${day(at)} ${clock(at, true)}`;

export function span(length) {
  if (length < 1) return "under a second";
  if (length < 90) return `${Math.round(length)} s`;
  if (length < 5400) return `${Math.round(length / 60)} min`;
  return length < 172800 ? `${(length / 3600).toFixed(1)} h` : `${Math.round(length / 86400)} days`;
}

export const bytes = (size) => (size < 2000 ? `${size} B` : size < 2e6 ? `${(size / 1e3).toFixed(1)} kB` : `${(size / 1e6).toFixed(1)} MB`);
