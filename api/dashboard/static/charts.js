// A job's pace over time, drawn by uPlot. Where it could not be had, the figures below the chart are all there is.

const holder = document.querySelector("[data-rates]");
const figures = [...document.querySelectorAll("[data-series]")];
const gap = 60; // seconds without a point: then there is a hole in the line, never a zero
const kept = 6 * 3600;
let columns = null;
let plots = [];

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// getPropertyValue gives light-dark(…) as written; a real property gives what it comes to.
function resolved(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(${name})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found || colour(name);
}

function short(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  if (size >= 1e6) return `${+(value / 1e6).toPrecision(3)} M`;
  if (size >= 1e4) return `${+(value / 1e3).toPrecision(3)} k`;
  return String(+value.toPrecision(3));
}

function clock(seconds, digits) {
  return new Date(seconds * 1000).toISOString().slice(11, 11 + digits);
}

function withHoles(times, values) {
  const xs = [];
  const ys = [];
  times.forEach((time, place) => {
    if (place && time - times[place - 1] > Math.max(gap, 2.5 * gap * (times.at(-1) - time > 3600))) {
      xs.push(times[place - 1] + 1);
      ys.push(null);
    }
    xs.push(time);
    ys.push(values[place]);
  });
  return [xs, ys];
}

function draw() {
  const Plot = window.uPlot;
  if (!Plot || !columns || columns.at.length < 2) return;
  for (const plot of plots) plot.destroy();
  const line = resolved("--series");
  const muted = resolved("--muted");
  const rule = resolved("--line");
  plots = figures.map((figure) => {
    const place = figure.querySelector(".chart");
    place.setAttribute("aria-hidden", "true");
    const said = figure.querySelector("output");
    const axis = { stroke: muted, grid: { stroke: rule, width: 1 }, ticks: { show: false }, font: "11px system-ui" };
    place.textContent = " ";
    const plot = new Plot(
      {
        width: Math.max(place.clientWidth, 120),
        height: 150,
        legend: { show: false },
        cursor: { y: false, points: { size: 6 } },
        scales: { x: { time: false }, y: { range: (_, low, high) => [0, high > 0 ? high * 1.1 : 1] } },
        series: [{}, { stroke: line, width: 1.6, fill: `color-mix(in srgb, ${line} 12%, transparent)`, points: { show: false } }],
        axes: [
          { ...axis, size: 24, space: 64, values: (u, ticks) => ticks.map((tick) => clock(tick, ticks.at(-1) - ticks[0] < 900 ? 8 : 5)) },
          { ...axis, size: 48, space: 32, values: (u, ticks) => ticks.map(short) },
        ],
        hooks: {
          setCursor: [
            (u) => {
              const at = u.cursor.idx;
              const last = u.data[1].findLast((value) => value !== null);
              const pointed = at !== null && at !== undefined && u.data[1][at] !== undefined;
              said.textContent = pointed ? `${clock(u.data[0][at], 8)}: ${short(u.data[1][at])}` : short(last);
            },
          ],
        },
      },
      withHoles(columns.at, columns[figure.dataset.series]),
      place,
    );
    place.firstChild.nodeType === Node.TEXT_NODE && place.firstChild.remove();
    said.textContent = short(columns[figure.dataset.series].at(-1));
    return plot;
  });
}

function add(fresh) {
  if (!columns) columns = Object.fromEntries(Object.keys(fresh).map((name) => [name, []]));
  for (const name of Object.keys(columns)) columns[name].push(...fresh[name]);
  const begin = columns.at.findIndex((time) => time >= columns.at.at(-1) - kept);
  if (begin > 0) for (const name of Object.keys(columns)) columns[name].splice(0, begin);
}

async function load() {
  if (document.hidden) return;
  const address = new URL(holder.dataset.rates, location.href);
  if (columns?.at.length) address.searchParams.set("since", new Date(columns.at.at(-1) * 1000).toISOString());
  try {
    const answer = await fetch(address, { headers: { Accept: "application/json" } });
    if (!answer.ok) return;
    const { points } = await answer.json();
    if (points.at.length) {
      add(points);
      draw();
    }
  } catch {
    // The next one may come through; the page says by itself when there is no answer.
  }
}

load();
setInterval(load, 5000);
document.addEventListener("skyfill:theme", draw);
new ResizeObserver(() => {
  for (const plot of plots) {
    const width = plot.root.parentElement.clientWidth;
    if (width > 0 && Math.abs(width - plot.width) > 2) plot.setSize({ width, height: 150 });
  }
}).observe(holder);
