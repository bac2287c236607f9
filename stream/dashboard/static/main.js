// Chooses the page to show, and updates it when something changes.

import { ask, listen } from "./api.js";
import { redrawAll } from "./charts.js";
import { h } from "./dom.js";
import { alertPage } from "./page_alert.js";
import { modelPage } from "./page_model.js";
import { alertsPage, modelsPage } from "./page_models.js";
import { lettersPage, workersPage } from "./page_service.js";
import { modelLink, modelName } from "./shared.js";

const main = document.getElementById("main");
const chooser = document.getElementById("model");
const connection = document.getElementById("connection");
const banner = document.getElementById("banner");

const PAGES = { alerts: alertsPage, workers: workersPage, letters: lettersPage, alert: alertPage, model: modelPage };
const SIZES = { alert: 2, model: 3 };

let shown = null;
let connected = false;
let updating = false;
let waiting = null;

function pageOf(hash) {
  const parts = hash.replace(/^#\/?/, "").split("/").map((part) => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  const make = Object.hasOwn(PAGES, parts[0]) && parts.length === (SIZES[parts[0]] ?? 1) ? PAGES[parts[0]] : modelsPage;
  return make(...parts.slice(1));
}

// Runs one update at a time; changes in the meantime cause another. An empty set means everything.
async function update(kinds = new Set()) {
  if (updating) {
    waiting = waiting === null || (waiting.size && kinds.size) ? new Set([...(waiting ?? []), ...kinds]) : new Set();
    return;
  }
  updating = true;
  const page = shown;
  try {
    await page.update(kinds);
    main.querySelector("p.failed")?.remove();
  } catch (error) {
    if (page === shown && !main.querySelector("p.failed")) main.prepend(h("p", { class: "failed quiet", role: "alert" }, `${error.message}.`));
  }
  updating = false;
  const next = page === shown ? waiting : new Set();
  waiting = null;
  if (next) await update(next);
}

function show(first) {
  shown = pageOf(location.hash);
  document.title = `${shown.title} · latentwatch`;
  main.replaceChildren(shown.element);
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.page === shown.page) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  chooser.value = shown.model ? modelLink(shown.model.model, shown.model.version) : "";
  if (!first) {
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  }
  update();
}

async function updateChooser() {
  const models = await ask("models");
  document.getElementById("chooser").hidden = models.length === 0;
  const options = [["", "All models"], ...models.map((found) => [modelLink(found.model, found.version), `${modelName(found)}${found.firing ? " (firing)" : ""}`])];
  chooser.replaceChildren(...options.map(([value, text]) => h("option", { value }, text)));
  chooser.value = shown.model ? modelLink(shown.model.model, shown.model.version) : "";
}

async function updateConnection() {
  const found = connected ? await ask("status") : null;
  const [kind, words] = !found ? ["away", "disconnected"] : found.ready ? ["live", "live"] : ["", found.behind ? "catching up" : "not live"];
  connection.className = `connection ${kind}`;
  connection.querySelector(".words").textContent = words;
  const trouble = found && !found.ready && !found.behind ? found.reason : "";
  banner.hidden = trouble === "";
  banner.textContent = trouble;
  if (!found) return;
  document.getElementById("logout").hidden = !found.can_log_out;
  const odd = found.passed_over ? `, ${found.passed_over} records skipped` : "";
  document.getElementById("about").textContent = `latentwatch ${found.version}, Kafka at ${found.servers}${odd}${found.user ? `, ${found.user}` : ""}`;
}

const quietly = (work) => work().catch(() => undefined);

chooser.addEventListener("change", () => { location.hash = chooser.value || "#/"; });
addEventListener("hashchange", () => show(false));
document.getElementById("skip").addEventListener("click", (event) => {
  // the hash is the address of a page, so this link must not change it
  event.preventDefault();
  main.focus();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawAll);

show(true);
quietly(updateChooser);
listen((kinds) => {
  const all = kinds.size === 0;
  if (all || shown.kinds.some((kind) => kinds.has(kind))) update(kinds);
  if (all || kinds.has("alerts") || kinds.has("hours")) quietly(updateChooser);
  if (all || kinds.has("status")) quietly(updateConnection);
}, (heard) => {
  connected = heard;
  quietly(updateConnection);
});
