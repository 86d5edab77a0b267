"use strict";

/* Curves of SROCC against eps, and of losses by epoch: values under the pointer and the arrow keys. */
const Curves = (() => {
  const HEIGHT = 230;
  const DASHES = [[], [8, 3, 2, 3], [2, 3]];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const drawn = new Map();

  const theme = () => Report.data.themes[dark.matches ? "dark" : "light"];

  /* Colour and dash of each line: references are grey and dashed, as in the figures. */
  function styles(lines) {
    let next = 0;
    const { lines: colours, reference } = theme();
    return lines.map((line) => {
      if (line.reference) return { colour: reference, dash: [6, 4] };
      const turn = Math.floor(next / colours.length);
      return { colour: colours[next++ % colours.length], dash: DASHES[turn % DASHES.length] };
    });
  }

  /* Draw lines of points [x, value, low, high, hollow] into a place.
     options: { title, lines: [{ label, reference, points }], x, xName, yName, y: [low, high] } */
  function chart(place, options) {
    const xs = [...new Set(options.lines.flatMap((line) => line.points.map((point) => point[0])))];
    xs.sort((a, b) => a - b);
    const points = options.lines.map((line) => {
      const found = new Map(line.points.map((point) => [point[0], point]));
      return xs.map((x) => found.get(x) ?? [x, null, null, null, 0]);
    });
    const looks = styles(options.lines);
    const readout = Report.element("p", { class: "readout", "aria-live": "polite" }, options.hint);
    const box = Report.element("div", {
      class: "canvas", tabindex: "0", role: "group", "aria-label": `Chart: ${options.title}. ` +
        "Left and right arrow keys move along it, up and down change the line.",
    });
    place.replaceChildren(Report.element(options.heading, {}, options.title), box, readout);
    const at = { index: 0, line: 0, byKeys: false };

    function say(line, index) {
      const point = points[line][index];
      const value = options.lines[line].points.length && point[1] === null && !options.plain
        ? "no value" : options.plain ? point[1].toPrecision(4) : Report.estimate(...point.slice(1, 4));
      const weak = point[4] ? ", attack too weak" : "";
      readout.textContent = `${options.lines[line].label}, ${options.xName} ${xs[index]}: ${value}${weak}`;
    }

    const plot = new uPlot(plotOptions(), [xs, ...points.map((line) => line.map((p) => p[1]))], box);

    function plotOptions() {
      const colours = theme();
      const axis = { stroke: colours.faint, font: "11px system-ui, sans-serif", ticks: { show: false } };
      return {
        width: Math.max(200, box.clientWidth),
        height: HEIGHT,
        legend: { show: false },
        focus: { alpha: 0.25 },
        cursor: { drag: { x: false, y: false }, focus: { prox: 40 }, points: { size: 9 } },
        scales: {
          x: { time: false, range: (u, low, high) => margins(low, high) },
          y: { range: options.y ?? ((u, low, high) => margins(low, high)) },
        },
        axes: [
          { ...axis, grid: { show: false }, size: 26, gap: 2, label: options.xLabel, labelSize: 20, labelGap: 0, labelFont: axis.font,
            ...(options.xTicks ? { splits: () => spread(xs), values: (u, ticks) => ticks.map(String) } : {}) },
          { ...axis, grid: { stroke: colours.grid, width: 1 }, size: 46,
            values: (u, ticks) => ticks.map((tick) => String(Number(tick.toFixed(4))).replace("-", "\u2212")) },
        ],
        series: [{}, ...options.lines.map((line, i) => ({
          label: line.label, stroke: looks[i].colour, dash: looks[i].dash, width: 1.7,
          show: line.shown ?? true, points: { show: false },
        }))],
        hooks: {
          drawSeries: [(u, series) => marks(u, series, points[series - 1], looks[series - 1].colour)],
          setSeries: [(u, series) => { if (series && !at.byKeys) at.line = series - 1; }],
          setCursor: [(u) => {
            if (u.cursor.idx !== null && u.cursor.event) {
              at.index = u.cursor.idx;
              if (u.series[at.line + 1].show) say(at.line, at.index);
            }
          }],
        },
      };
    }

    box.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      at.index = Math.min(xs.length - 1, Math.max(0, at.index + step[0]));
      const shown = options.lines.map((line, i) => i).filter((i) => plot.series[i + 1].show);
      if (!shown.length) return;
      const here = shown.indexOf(at.line);
      at.line = shown[(Math.max(0, here) + step[1] + shown.length) % shown.length];
      const value = points[at.line][at.index][1];
      at.byKeys = true;
      plot.setCursor({ left: plot.valToPos(xs[at.index], "x"), top: value === null ? 0 : plot.valToPos(value, "y") });
      plot.setSeries(at.line + 1, { focus: true });
      at.byKeys = false;
      say(at.line, at.index);
    });
    const observer = new ResizeObserver(() => {
      const width = Math.max(200, box.clientWidth);
      if (width !== plot.width) plot.setSize({ width, height: HEIGHT });
    });
    observer.observe(box);
    return { plot, close: () => { observer.disconnect(); plot.destroy(); } };
  }

  function margins(low, high) {
    const margin = 0.04 * (high - low || 1);
    return [low - margin, high + margin];
  }

  function spread(values) {
    const least = 0.06 * values[values.length - 1];
    return values.reduce((kept, x) => (kept.length && x - kept[kept.length - 1] < least ? kept : [...kept, x]), []);
  }

  /* Intervals as thin upright lines, points as discs: hollow where the attack is too weak. */
  function marks(u, series, points, colour) {
    if (!u.series[series].show) return;
    const ctx = u.ctx;
    const scale = devicePixelRatio || 1;
    ctx.save();
    ctx.strokeStyle = colour;
    ctx.globalAlpha *= 0.5;
    ctx.lineWidth = scale;
    ctx.setLineDash([]);
    for (const [x, , low, high] of points) {
      if (low === null || high === null) continue;
      const left = u.valToPos(x, "x", true);
      ctx.beginPath();
      ctx.moveTo(left, u.valToPos(low, "y", true));
      ctx.lineTo(left, u.valToPos(high, "y", true));
      ctx.stroke();
    }
    ctx.globalAlpha /= 0.5;
    ctx.lineWidth = 1.3 * scale;
    for (const [x, value, , , hollow] of points) {
      if (value === null) continue;
      ctx.fillStyle = hollow ? theme().paper : colour;
      ctx.beginPath();
      ctx.arc(u.valToPos(x, "x", true), u.valToPos(value, "y", true), 3 * scale, 0, 2 * Math.PI);
      ctx.fill();
      ctx.stroke();
    }
    ctx.restore();
  }

  function range(lines) {
    const values = lines.flatMap((line) => line.points.flatMap((p) => p.slice(1, 4))).filter((v) => v !== null);
    const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
    return [Math.max(-1.02, low - 0.06), Math.min(1.02, high + 0.06)];
  }

  const eps = { xName: "eps", xLabel: "eps (1/255)", xTicks: true, hint: "Point at a line, or use the arrow keys." };

  function drawGroup(place) {
    const group = Report.data.groups[Number(place.dataset.group)];
    const hidden = drawn.get(place)?.hidden ?? new Set();
    close(place);
    const panels = group.panels.map((panel) => ({
      title: panel.title,
      lines: group.entries.map((entry, i) => ({
        label: entry.label, reference: entry.reference, points: panel.curves[i], shown: !hidden.has(i),
      })),
    }));
    const y = range(panels.flatMap((panel) => panel.lines));
    const boxes = panels.map((panel) => Report.element("div", { class: "chart", "data-attack": panel.title }));
    const charts = Report.element("div", { class: "charts" }, ...boxes);
    place.replaceChildren(charts);
    const made = panels.map((panel, i) => chart(boxes[i], { ...eps, ...panel, y, heading: "h4" }));
    drawn.set(place, { charts: made, hidden, redraw: () => drawGroup(place) });
    place.prepend(legend(group.entries, made, hidden));
  }

  function legend(entries, made, hidden) {
    const looks = styles(entries);
    const buttons = entries.map((entry, i) => {
      const name = entry.label + (entry.reference ? " (reference)" : "");
      const button = Report.element("button", { type: "button" }, swatch(looks[i]), name);
      button.addEventListener("click", () => show(i, hidden.has(i)));
      return button;
    });
    function show(i, isShown) {
      hidden[isShown ? "delete" : "add"](i);
      buttons[i].setAttribute("aria-pressed", String(isShown));
      for (const { plot } of made) plot.setSeries(i + 1, { show: isShown });
    }
    const every = [["All", true], ["None", false]].map(([text, isShown]) => {
      const button = Report.element("button", { type: "button" }, text);
      button.addEventListener("click", () => entries.forEach((entry, i) => show(i, isShown)));
      return button;
    });
    buttons.forEach((button, i) => button.setAttribute("aria-pressed", String(!hidden.has(i))));
    const all = [...buttons, ...every].map((button) => Report.element("li", {}, button));
    return Report.element("ul", { class: "legend", "aria-label": "Lines of the charts" }, ...all);
  }

  function swatch({ colour, dash }) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    const line = document.createElementNS(space, "line");
    const set = (node, values) => Object.entries(values).forEach(([k, v]) => node.setAttribute(k, v));
    set(svg, { width: 22, height: 8, "aria-hidden": "true" });
    set(line, { x1: 0, x2: 22, y1: 4, y2: 4, stroke: colour, "stroke-width": 2.5, "stroke-dasharray": dash.join(" ") });
    svg.append(line);
    return svg;
  }

  function drawDefense(place) {
    const [group, entry] = place.dataset.curvesOf.split(" ").map(Number);
    const lines = Report.data.groups[group].panels.map((panel) => ({ label: panel.title, points: panel.curves[entry] }));
    if (!lines.length) return;
    close(place);
    const holder = Report.element("div", { class: "chart" });
    const made = [chart(holder, { ...eps, lines, y: range(lines), title: place.dataset.title, heading: "h4" })];
    const names = legend(lines, made, new Set());
    place.replaceChildren(names, holder);
    drawn.set(place, { charts: made, redraw: () => drawDefense(place) });
  }

  function drawLosses(place) {
    const losses = Report.data.losses[place.dataset.lossesOf];
    if (!losses) return;
    close(place);
    const points = losses.map((loss, i) => [i + 1, loss, null, null, 0]);
    const made = chart(place, {
      title: place.dataset.title, heading: "h4", lines: [{ label: "loss", points }], plain: true,
      xName: "epoch", xLabel: "epoch", hint: "Point at the line, or use the arrow keys.",
    });
    drawn.set(place, { charts: [made], redraw: () => drawLosses(place) });
  }

  function close(place) {
    drawn.get(place)?.charts.forEach((made) => made.close());
  }

  /* Draw what a part of the page holds; called when it is shown. */
  function drawIn(part) {
    const kinds = { "[data-curves-of]": drawDefense, "[data-losses-of]": drawLosses };
    for (const [selector, draw] of Object.entries(kinds)) {
      for (const place of part.querySelectorAll(selector)) if (!drawn.has(place)) draw(place);
    }
  }

  function start() {
    for (const place of document.querySelectorAll(".curves")) Report.whenNear(place, () => drawGroup(place));
    dark.addEventListener("change", () => { for (const { redraw } of [...drawn.values()]) redraw(); });
    document.addEventListener("filtered", ({ detail }) => {
      for (const box of document.querySelectorAll(".curves .chart")) {
        box.hidden = Boolean(detail.attack) && box.dataset.attack !== detail.attack;
      }
    });
  }

  start();
  return { drawIn };
})();
