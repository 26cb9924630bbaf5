"use strict";

const BLUE = "#0072B2", ORANGE = "#D55E00", GREEN = "#009E73";  // of Okabe and Ito, as in figures.py
const ON_DARK = { [BLUE]: "#4BA3DB", [ORANGE]: "#F28A4B", [GREEN]: "#33C29A" };  // the same hues, lighter
const BEFORE = 5;  // real steps shown before a plan
const dark = window.matchMedia("(prefers-color-scheme: dark)");

async function unpack(element) {
  const bytes = Uint8Array.from(atob(element.textContent), c => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).text();
}

function layout(own) {
  const [text, line] = dark.matches ? ["#ececec", "#454a52"] : ["#1b1b1b", "#c9ccd1"];
  const axis = a => ({ gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true, ...a });
  return {
    margin: { l: 56, r: 12, t: 8, b: 44 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: text, size: 12 }, legend: { orientation: "h", yref: "container", y: 0, yanchor: "bottom" }, barmode: "group",
    ...own, xaxis: axis(own.xaxis), yaxis: axis(own.yaxis),
    shapes: (own.shapes || []).map(shape => ({ ...shape, line: { color: text, width: 1, ...shape.line } })),
  };
}

function lighten(value) {
  if (typeof value === "string") return ON_DARK[value] || value;
  if (value === null || typeof value !== "object" || ArrayBuffer.isView(value)) return value;
  if (Array.isArray(value)) return typeof value[0] === "object" ? value.map(lighten) : value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, lighten(inner)]));
}

function wrap(name) {  // a legend that is wider than its figure would be drawn over and over
  return window.innerWidth < 600 && name ? name.replace(/(.{12,28}?(,|\/)) ?(?=.{4})/g, "$1<br>") : name;
}

function draw(id, data, own) {
  data = data.map(trace => ({ ...trace, name: wrap(trace.name) }));
  return Plotly.react(id, dark.matches ? lighten(data) : data, layout(own), { responsive: true, displaylogo: false, displayModeBar: false });
}

// Arrays

function half(bits) {
  const exponent = (bits >> 10) & 31, fraction = bits & 1023;
  return exponent ? 2 ** (exponent - 15) * (1 + fraction / 1024) : 2 ** -14 * (fraction / 1024);
}

function decode({ kind, shape, base64 }) {
  const bytes = Uint8Array.from(atob(base64), c => c.charCodeAt(0)).buffer;
  const flat = kind === "f4" ? new Float32Array(bytes) : kind === "u1" ? new Uint8Array(bytes) : Array.from(new Uint16Array(bytes), half);
  const at = (...index) => flat[index.reduce((place, i, axis) => place * shape[axis] + i, 0)];
  return { at, shape };
}

// Rollouts

const sides = [];  // {element, recording, index}
let packed = [], step = 0, dimension = "", timer = null;  // the dimension by its name: robots have different ones
const opened = new Map();

async function open(index) {
  if (!opened.has(index)) {
    const content = JSON.parse(await unpack(packed[index]));
    for (const [name, value] of Object.entries(content)) {
      if (value && value.base64 !== undefined) content[name] = decode(value);
    }
    opened.set(index, content);
  }
  return opened.get(index);
}

function names(recording) {
  return [...recording.names.observation, ...recording.names.action, "reward", "value"];
}

function realAt(recording, d, at) {
  const o = recording.names.observation.length, a = recording.names.action.length;
  if (at < 0) return null;
  if (d < o) return at < recording.observations.shape[0] ? recording.observations.at(at, d) : null;
  if (at >= recording.rewards.shape[0]) return null;
  if (d < o + a) return recording.actions.at(at, d - o);
  return d === o + a ? recording.rewards.at(at) : null;
}

function finite(value) { return Number.isFinite(value) ? value : null; }

function planIndex(recording) {
  let found = 0;
  recording.steps.forEach((at, i) => { if (at <= step) found = i; });
  return found;
}

function binsOf(recording, i, d) {
  const low = recording.low.at(d), span = recording.high.at(d) - low || 1, found = { span, centers: [], widths: [], masses: [], kept: [] };
  let edge = 0;
  for (let b = 0; b < recording.widths.shape[2]; b++) {
    const width = recording.widths.at(i, d, b), mass = recording.masses.at(i, d, b);
    found.centers.push(low + (edge + width / 2) * span); found.widths.push(width * span); found.masses.push(mass);
    found.kept.push(recording.kept.at(i, d, b) ? mass : 0);
    edge += width;
  }
  return found;
}

function quantile({ centers, widths, masses }, level) {
  let below = 0;
  for (let b = 0; b < masses.length; b++) {
    if (below + masses[b] >= level) return centers[b] + widths[b] * ((level - below) / (masses[b] || 1) - 0.5);
    below += masses[b];
  }
  return centers[centers.length - 1];
}

function prediction(recording, i, d) {  // of the next observation, which a plan of one transition does not hold
  const bins = binsOf(recording, i, d), [low, middle, high] = [0.05, 0.5, 0.95].map(level => quantile(bins, level));
  return {
    x: [recording.steps[i] + 1], y: [middle], type: "scatter", mode: "markers", name: "predicted, 5 to 95 %", marker: { color: ORANGE, symbol: "diamond-open", size: 9 },
    error_y: { type: "data", symmetric: false, array: [high - middle], arrayminus: [middle - low], color: ORANGE, thickness: 2, width: 6 },
  };
}

function drawPlan(side, i, d) {
  const { recording } = side, label = dimension, horizon = recording.plans.shape[1];
  const start = recording.steps[i], real = [], steps = [];
  for (let at = Math.max(0, start - BEFORE); at <= start + horizon + BEFORE; at++) {
    steps.push(at); real.push(realAt(recording, d, at));
  }
  const x = Array.from({ length: horizon }, (_, h) => start + h);
  const band = q => x.map((_, h) => finite(recording.spread.at(i, q, h, d)));
  const whole = x.map((_, h) => h).filter(h => band(0)[h] !== null);
  const data = [
    { x: [...whole.map(h => x[h]), ...whole.map(h => x[h]).reverse()], y: [...whole.map(h => band(0)[h]), ...whole.map(h => band(2)[h]).reverse()],
      type: "scatter", mode: "lines", fill: "toself", fillcolor: ORANGE, opacity: 0.3, line: { width: 0 }, name: "candidates, 5 to 95 %", hoverinfo: "skip", showlegend: horizon > 1 },
    { x: steps, y: real, type: "scatter", mode: "lines+markers", name: "what came", line: { color: BLUE, width: 2 } },
    { x, y: x.map((_, h) => finite(recording.plans.at(i, h, d))), type: "scatter", mode: "lines+markers", name: "plan",
      line: { color: ORANGE, width: 2, dash: "dash" }, marker: { symbol: "diamond" } },
  ];
  const isNext = horizon === 1 && d < recording.names.observation.length && recording.widths.shape[2];
  if (isNext) data.push(prediction(recording, i, d));
  const own = { xaxis: { title: { text: "step" } }, yaxis: { title: { text: label } } };
  const figure = side.element.querySelector(".plan");
  figure.setAttribute("aria-label", `Planned and real ${label} from step ${start} on, over ${horizon} transitions.`);
  return draw(figure.id, data, own);
}

function drawDensity(side, i, d) {
  const { recording } = side, label = dimension, bins = recording.widths.shape[2];
  const figure = side.element.querySelector(".density"), note = figure.nextElementSibling;
  note.textContent = bins ? "" : "This model has no bins: its distribution is not recorded.";
  if (!bins) return Plotly.purge(figure);
  const { span, centers, widths, masses, kept } = binsOf(recording, i, d), keptMass = kept.reduce((sum, mass) => sum + mass, 0);
  const bars = (values, total, name, color, opacity) => ({
    type: "bar", name, x: centers, width: widths, y: values.map((v, b) => widths[b] > 0 ? v / total / widths[b] : 0), opacity,
    marker: { color, line: { color, width: 1 } }, customdata: values.map(v => v / total), hovertemplate: "mass %{customdata:.3g}<br>density %{y:.3g}",
  });
  const data = [bars(masses, 1, "all bins", BLUE, 0.6)];
  if (keptMass < 0.999) data.push(bars(kept, keptMass, "after the cutoffs", ORANGE, 0.5));
  const isNext = d < recording.names.observation.length;
  const real = realAt(recording, d, recording.steps[i] + (isNext ? 1 : 0));
  const tallest = Math.max(...data[0].y);
  if (real !== null) {
    data.push({ type: "scatter", mode: "lines", name: "what came", x: [real, real], y: [0, tallest], line: { color: GREEN, width: 3, dash: "dot" } });
  }
  // Show where the mass is: narrow bins would vanish on the whole axis.
  const visible = centers.map((_, b) => b).filter(b => masses[b] > 0.002);
  const ends = [...visible.flatMap(b => [centers[b] - widths[b] / 2, centers[b] + widths[b] / 2]), ...(real === null ? [] : [real])];
  const [from, to] = [Math.min(...ends), Math.max(...ends)], margin = 0.05 * (to - from || span);
  figure.setAttribute("aria-label", `Density of ${label} predicted at step ${recording.steps[i]}: ${bins} bins`
    + (real === null ? "." : `; ${real.toPrecision(4)} came.`));
  return draw(figure.id, data, { barmode: "overlay", xaxis: { title: { text: label }, range: [from - margin, to + margin] }, yaxis: { title: { text: "density" } } });
}

function drawReturns(side, i) {
  const { recording } = side, x = recording.steps, figure = side.element.querySelector(".returns");
  const line = (q) => x.map((_, n) => finite(recording.score_spread.at(n, q)));
  const data = [
    { x: [...x, ...[...x].reverse()], y: [...line(0), ...line(2).reverse()], type: "scatter", mode: "lines", fill: "toself", fillcolor: ORANGE,
      opacity: 0.3, line: { width: 0 }, name: "candidates, 5 to 95 %", hoverinfo: "skip" },
    { x, y: x.map((_, n) => finite(recording.scores.at(n))), type: "scatter", mode: "lines", name: "planned", line: { color: ORANGE, dash: "dash" } },
    { x, y: x.map((_, n) => finite(recording.realized.at(n))), type: "scatter", mode: "lines", name: "realized", line: { color: BLUE } },
  ];
  const now = { type: "line", x0: x[i], x1: x[i], yref: "paper", y0: 0, y1: 1 };
  figure.setAttribute("aria-label", "Planned and realized discounted return over the steps of the rollout.");
  return draw(figure.id, data, { xaxis: { title: { text: "step" } }, yaxis: { title: { text: "discounted return" } }, shapes: [now] });
}

function describe(side, i) {
  const { recording } = side, number = v => Number.isFinite(v) ? v.toPrecision(4) : "unknown";
  const { length, terminated } = recording.result;
  const end = terminated ? `ends in a terminal state at step ${length}` : `is cut at step ${length}`;
  return `Step ${recording.steps[i]}: planned ${number(recording.scores.at(i))}, realized ${number(recording.realized.at(i))}. The rollout ${end}.`;
}

function show(side) {
  const { recording, element } = side;
  if (!recording.steps.length) {
    element.querySelector(".now").textContent = "No plan of this rollout was recorded.";
    return Promise.all([...element.querySelectorAll(".plot")].map(figure => Plotly.purge(figure)));
  }
  const i = planIndex(recording), video = element.querySelector("video");
  if (recording.video) video.currentTime = (i + 0.5) / recording.frames_per_second;
  element.querySelector(".now").textContent = describe(side, i);
  const d = names(recording).indexOf(dimension), [plan, density] = [".plan", ".density"].map(kind => element.querySelector(kind));
  plan.nextElementSibling.textContent = d < 0 ? `This rollout has no dimension "${dimension}".` : "";
  if (d < 0) density.nextElementSibling.textContent = "";
  const ofDimension = d < 0 ? [Plotly.purge(plan), Plotly.purge(density)] : [drawPlan(side, i, d), drawDensity(side, i, d)];
  return Promise.all([...ofDimension, drawReturns(side, i)]);
}

async function choose(side, index) {
  side.recording = await open(index);
  const { recording, element } = side, video = element.querySelector("video");
  video.hidden = !recording.video;
  const missing = element.querySelector(".film .missing");
  missing.textContent = recording.video ? "" : `There is no video. ${recording.missing_video || ""}`;
  video.onerror = () => { video.hidden = true; missing.textContent = "The video of this recording is damaged, or this browser cannot play it."; };
  if (recording.video) video.src = `data:video/mp4;base64,${recording.video}`;
  const slider = document.getElementById("time");
  slider.max = Math.max(...sides.map(({ recording: r }) => r ? r.steps[r.steps.length - 1] || 0 : 0));
  const chooser = document.getElementById("dimension");
  const labels = [...new Set(sides.flatMap(({ recording: r }) => r ? names(r) : []))];
  chooser.replaceChildren(...labels.map(label => new Option(label)));
  if (!labels.includes(dimension)) dimension = labels[0];
  chooser.value = dimension;
}

function move(to) {
  step = to;
  document.getElementById("time").value = to;
  document.getElementById("step").textContent = to;
  return Promise.all(sides.map(show));
}

function play(button) {
  const slider = document.getElementById("time"), { steps } = sides[0].recording;
  const stop = () => { clearInterval(timer); timer = null; button.textContent = "Play"; button.setAttribute("aria-pressed", "false"); };
  if (timer) return stop();
  button.textContent = "Pause";
  button.setAttribute("aria-pressed", "true");
  const stride = steps.length > 1 ? steps[1] - steps[0] : 1;
  if (step >= Number(slider.max)) step = 0;
  timer = setInterval(() => step < Number(slider.max) ? move(Math.min(step + stride, Number(slider.max))) : stop(), 150);
}

async function startRollouts() {
  packed = [...document.querySelectorAll(".packed-recording")];
  if (!packed.length) return;
  for (const element of document.querySelectorAll(".side")) sides.push({ element, recording: null });
  if (packed.length === 1) sides.pop().element.remove();
  for (const side of sides) {
    const select = side.element.querySelector(".rollout");
    await choose(side, Number(select.value));
    select.addEventListener("change", async () => { await choose(side, Number(select.value)); await move(Math.min(step, Number(document.getElementById("time").max))); });
  }
  document.getElementById("time").addEventListener("input", event => move(Number(event.target.value)));
  document.getElementById("dimension").addEventListener("change", event => { dimension = event.target.value; move(step); });
  document.getElementById("play").addEventListener("click", event => play(event.target));
  await move(0);
}

// The index

function startFilter() {
  const field = document.getElementById("filter");
  if (!field) return;
  field.addEventListener("input", () => {
    const words = field.value.toLowerCase().split(/\s+/).filter(Boolean), rows = [...document.querySelectorAll("#index tbody tr")];
    for (const row of rows) row.hidden = !words.every(word => row.textContent.toLowerCase().includes(word));
    document.getElementById("count").textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length} experiments`;
  });
}

async function start() {
  startFilter();
  const library = document.createElement("script");
  library.textContent = await unpack(document.getElementById("packed-plotly"));
  document.head.append(library);
  const figures = JSON.parse(await unpack(document.getElementById("packed-figures")));
  const drawAll = () => Promise.all(figures.map(({ name, data, layout: own }) => draw(name, data, own)));
  await drawAll();
  await startRollouts();
  dark.addEventListener("change", () => { drawAll(); move(step); });
  document.body.dataset.ready = "true";
}

start();
