// The page of a serving process: asks for its state every two seconds, and shows it.

import {bars, element, lines, nothing, share, short} from "/charts.js";

const EVERY_MS = 2000;
const RUNGS = {fresh: "good", defaults: "warn", all_defaults: "three", prior: "bad"};
const STATUSES = {present: "good", null: "two", not_found: "none", stale: "warn", future: "stop", unreadable: "bad", unreachable: "three"};
const get = (id) => document.getElementById(id);

// --- light and dark -------------------------------------------------------------------------------------------------

function chosen() {
  try { return localStorage.getItem("theme"); } catch { return null; } // no storage: the system's choice
}

function switchTheme() {
  const dark = (document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  try { localStorage.setItem("theme", document.documentElement.dataset.theme); } catch { /* it lasts until the page is closed */ }
}

if (chosen()) document.documentElement.dataset.theme = chosen();
get("theme").addEventListener("click", switchTheme);

// --- words ----------------------------------------------------------------------------------------------------------

const OLDEST_S = 30 * 86400; // the last bound of the ages that the server counts

function age(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  for (const [unit, size] of [["d", 86400], ["h", 3600], ["min", 60]]) {
    if (Math.abs(seconds) >= size) return `${short(seconds / size)} ${unit}`;
  }
  return `${short(seconds)} s`;
}

const bound = (seconds) => seconds !== null && seconds >= OLDEST_S ? "over 30 d" : age(seconds);
const clock = (seconds) => new Date(seconds * 1000).toLocaleTimeString([], {hour12: false});
const day = (us) => new Date(us / 1000).toISOString().replace("T", " ").slice(0, 16) + " UTC";
const ms = (value) => value === null || value === undefined ? "–" : `${short(value)} ms`;
const word = (name) => name === "T" ? "time of the row" : name.toLowerCase().replaceAll("_", " ");

// --- what is shown --------------------------------------------------------------------------------------------------

function showState(state) {
  const served = state.served.filter((model) => !model.why_not), refused = state.served.length - served.length;
  get("state").className = `badge ${served.length ? "good" : "bad"}`;
  get("state").textContent = served.length ? `ready${refused ? `, ${refused} refused` : ""}` : "not ready: no model is served";
}

function showTiles(state) {
  const last = state.points.at(-1) ?? {}, rows = Object.values(state.rungs ?? {}).reduce((sum, one) => sum + one, 0);
  const worse = rows ? 100 * (rows - (state.rungs.fresh ?? 0)) / rows : null;
  const tiles = [
    ["requests a second", short(last.requests ?? 0)], ["rows a second", short(last.rows ?? 0)],
    ["failed a second", short(last.failed ?? 0)], ["half answered within", ms(last.p50)], ["99 % within", ms(last.p99)],
    ["rows below FRESH, last minute", worse === null ? "–" : `${short(worse)} %`], ["requests waiting", short(state.queue ?? 0)],
  ];
  get("tiles").replaceChildren(...tiles.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
}

function showTime(points) {
  const xs = points.map((point) => point.at_s), ys = (name) => points.map((point) => point[name]);
  lines(get("traffic"), xs, [
    {name: "requests", colour: "one", ys: ys("requests")}, {name: "rows", colour: "two", ys: ys("rows")},
    {name: "failed", colour: "bad", ys: ys("failed")},
  ], clock);
  lines(get("latency"), xs, [
    {name: "p50", colour: "one", ys: ys("p50")}, {name: "p95", colour: "two", ys: ys("p95")}, {name: "p99", colour: "three", ys: ys("p99")},
  ], clock);
}

function showMinute(state) {
  const curve = state.latency ?? [];
  lines(get("curve"), curve.map((point) => point[0]), [{name: "ms", colour: "one", ys: curve.map((point) => point[1])}], (x) => `${short(x)} %`);
  bars(get("stages"), (state.stages ?? []).map((one) => ({name: one.stage, value: one.mean_ms, text: ms(one.mean_ms), title: `99 % within ${ms(one.p99_ms)}`})), "one");
  get("rungs").replaceChildren(share(Object.entries(state.rungs ?? {}).map(([name, count]) => ({name: word(name), count, colour: RUNGS[name] ?? "none"}))));
  get("views").tBodies[0].replaceChildren(...(state.views ?? []).map(viewRow));
}

function viewRow(view) {
  const parts = Object.entries(view.statuses).map(([name, count]) => ({name: word(name), count, colour: STATUSES[name] ?? "none"}));
  return element("tr", {}, element("td", {}, view.view), element("td", {}, share(parts)),
    element("td", {class: "number"}, bound(view.age_p50_s)), element("td", {class: "number"}, bound(view.age_p99_s)));
}

function showModels(state) {
  const traffic = new Map((state.models ?? []).map((one) => [`${one.model} ${one.version}`, one]));
  if (!state.served.length) return nothing(get("models"), "No model is published yet. Train one with `lockstep train`; the server picks it up.");
  get("models").replaceChildren(...state.served.map((model) => card(model, traffic.get(`${model.model} ${model.version}`))));
  return undefined;
}

function card(model, traffic) {
  const title = element("h3", {}, `${model.model} ${model.version}`);
  if (model.why_not) return element("div", {class: "card refused"}, title, element("p", {}, "Not served: ", model.why_not));
  for (const alias of model.aliases) title.append(element("span", {class: "tag"}, alias));
  const facts = [["trained", day(model.created_us)], ["kind", `${model.kind}, ${model.inputs} inputs, ${model.views.length} views`],
    ["last minute", traffic ? `${short(traffic.requests)} requests/s, p50 ${ms(traffic.p50)}, p99 ${ms(traffic.p99)}` : "no requests"],
    ...Object.entries(model.metrics).slice(0, 8).map(([name, value]) => [name, short(value, 5)])];
  const made = element("div", {class: "card"}, title, element("dl", {}, ...facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])));
  if (model.report) made.append(element("p", {}, element("a", {href: `/reports/${encodeURIComponent(model.model)}/${encodeURIComponent(model.version)}`}, "report")));
  return made;
}

function showProcesses(processes = []) {
  get("processes").tBodies[0].replaceChildren(...processes.map((one) => element("tr", {}, element("td", {}, one.worker),
    element("td", {class: "number"}, short(one.cpu, 2)), element("td", {class: "number"}, short(one.memory_bytes / 1e6)))));
}

// --- trying ---------------------------------------------------------------------------------------------------------

let offered = "";

/** The form follows the models that are served; what was typed stays. */
function offer(state) {
  const served = state.served.filter((model) => !model.why_not);
  get("trial").hidden = !state.may_try || !served.length;
  const now = JSON.stringify(served.map((model) => [model.model, model.version, model.aliases, model.needs]));
  if (now === offered) return;
  offered = now;
  const before = get("which").value;
  get("which").replaceChildren(...served.map((model) => element("option", {value: JSON.stringify([model.model, model.version])},
    [model.model, model.version, ...model.aliases.map((alias) => `(${alias})`)].join(" "))));
  if ([...get("which").options].some((option) => option.value === before)) get("which").value = before;
  get("which").onchange = () => fields(served);
  fields(served);
}

function fields(served) {
  const typed = new Map([...get("fields").querySelectorAll("input")].map((input) => [input.name, input.value]));
  const [name, version] = JSON.parse(get("which").value || "[]");
  const model = served.find((one) => one.model === name && one.version === version);
  get("fields").replaceChildren(...(model?.needs ?? []).map((need) => {
    const input = element("input", {name: need.name, size: 12, placeholder: need.optional ? "default" : need.dtype, spellcheck: "false"});
    input.value = typed.get(need.name) ?? "";
    input.required = !need.optional && need.dtype !== "string";
    return element("label", {}, need.name, input);
  }));
}

async function attempt(event) {
  event.preventDefault();
  const [model, version] = JSON.parse(get("which").value);
  const columns = Object.fromEntries([...get("fields").querySelectorAll("input")].map((input) => [input.name, input.value]));
  get("go").disabled = true;
  try {
    const reply = await fetch("/api/try", {method: "POST", headers: {"Content-Type": "application/json"},
      body: JSON.stringify({model, version, columns, at: get("at").value})});
    showAnswer(await reply.json());
  } catch (error) {
    showAnswer({error: `the server gave no answer (${error.message}).`});
  } finally {
    get("go").disabled = false;
  }
}

function showAnswer(answer) {
  get("wrong").hidden = !answer.error;
  get("wrong").textContent = answer.error ?? "";
  get("answer").hidden = Boolean(answer.error);
  if (answer.error) return;
  get("score").replaceChildren(element("b", {}, short(answer.score, 5)),
    `${answer.model} ${answer.version}, rung ${answer.rung}, t = ${new Date(answer.t_us / 1000).toISOString()}, ${ms(answer.ms)}`);
  const most = Math.max(...answer.features.map((one) => Math.abs(one.moved ?? 0)), 1e-12);
  const size = (one) => one.moved === null ? -1 : Math.abs(one.moved);
  const sorted = [...answer.features].sort((one, other) => size(other) - size(one));
  get("features").tBodies[0].replaceChildren(...sorted.map((one) => featureRow(one, most)));
}

function featureRow(one, most) {
  const value = one.value === null ? "NULL" : one.dtype === "timestamp" ? day(one.value) : typeof one.value === "number" ? short(one.value, 6) : one.value;
  const colour = STATUSES[one.status.toLowerCase()] ?? "one";
  const status = element("td", {}, element("span", {class: `key fill-${colour}`}), word(one.status) + (one.defaulted ? ", default used" : ""));
  status.classList.add("status");
  return element("tr", {}, element("td", {}, one.name), element("td", {class: "value"}, value), element("td", {}, one.view || (one.status === "REQUEST" ? "request" : "")),
    status, element("td", {class: "number"}, age(one.age_s)), element("td", {}, moved(one.moved, most)));
}

function moved(change, most) {
  const left = element("span", {class: "left fill-three"}), right = element("span", {class: "right fill-one"});
  if (change !== null) (change < 0 ? left : right).style.width = `${100 * Math.abs(change) / most}%`;
  const text = change === null ? "–" : `${change > 0 ? "+" : ""}${short(change)}`.replace("-", "−");
  return element("div", {class: "move"}, left, right, element("output", {}, text));
}

get("form").addEventListener("submit", attempt);

// --- asking ---------------------------------------------------------------------------------------------------------

let since = null;

async function refresh() {
  try {
    const state = await (await fetch("/api/state")).json();
    since = null;
    get("lost").hidden = true;
    showState(state);
    showTiles(state);
    showTime(state.points);
    showMinute(state);
    showModels(state);
    showProcesses(state.processes);
    offer(state);
  } catch (error) {
    since ??= new Date();
    get("lost").hidden = false;
    get("lost").textContent = `The server gives no answer since ${since.toLocaleTimeString([], {hour12: false})} (${error.message}). What stands below is older.`;
    get("state").className = "badge bad";
    get("state").textContent = "no answer";
  }
  setTimeout(refresh, document.hidden ? 5 * EVERY_MS : EVERY_MS);
}

refresh();
