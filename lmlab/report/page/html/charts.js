// Draws the charts from the JSON of the page; the switches draw them again. Text is only ever set as text.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const AXES = { steps: "steps", tokens: "tokens", FLOPs: "training FLOP", seconds: "training time (s)" };
  const DASH = ["solid", "dashed", "dotdash", "dotted"];
  const MARKERS = ["circle", "triangle", "square", "diamond", "inverted_triangle", "cross", "x", "star"];
  const LONGEST_LABEL = 34;
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colours = () => Array.from({ length: 8 }, (_, place) => colour(`--run-${place}`));
  for (const line of data.charts.flatMap((chart) => chart.lines)) {
    if (line.flops !== null) line.at.FLOPs = line.at.tokens.map((tokens) => tokens * line.flops);
  }
  const state = { axis: "steps", logX: false, logY: {} };
  let drawn = [];

  const short = (text) => (text.length <= LONGEST_LABEL ? text : `${text.slice(0, 16)}…${text.slice(-17)}`);
  const positive = (values, log) => values.map((value) => (log && !(value > 0) ? NaN : value ?? NaN));

  function styled(plot) {
    const [text, soft, line, back] = ["--text", "--quiet", "--line", "--back"].map(colour);
    plot.background_fill_color = plot.border_fill_color = back;
    plot.outline_line_color = null;
    for (const axis of [plot.below[0], plot.left[0]]) {
      Object.assign(axis, { axis_label_text_color: soft, major_label_text_color: soft, axis_line_color: line,
        axis_label_text_font_style: "normal", major_tick_line_color: line, minor_tick_line_color: null });
    }
    for (const grid of plot.center.filter((one) => "grid_line_color" in one)) grid.grid_line_color = line;
    plot.toolbar.logo = null;
    plot.toolbar.autohide = true;
    return text;
  }

  function draw(chart, place) {
    const log = state.logY[chart.key];
    const axis = chart.axes.includes(state.axis) ? state.axis : "steps";
    const narrow = place.clientWidth < 560;
    const plot = Bokeh.Plotting.figure({
      height: chart.key === "loss" ? 420 : 280, sizing_mode: "stretch_width", tools: "pan,box_zoom,reset,save",
      x_axis_type: state.logX ? "log" : "linear", y_axis_type: log ? "log" : "linear",
      x_axis_label: AXES[axis], y_axis_label: chart.unit || null,
    });
    if (axis !== "FLOPs" && !state.logX) plot.below[0].formatter = new Bokeh.NumeralTickFormatter({ format: "0,0" });
    if (!log) plot.left[0].formatter = new Bokeh.BasicTickFormatter({ power_limit_low: -6 });
    const text = styled(plot);
    const palette = colours();
    const legend = [];
    for (const line of chart.lines) {
      const tone = palette[line.group % palette.length];
      const single = data.groups.length === 1;
      const lead = single && chart.key === "loss" && ["line", "points"].includes(line.style) ? palette[1] : tone;
      const x = positive(line.at[axis], state.logX), y = positive(line.values, log);
      const steps = line.at.steps, count = x.length;
      const source = new Bokeh.ColumnDataSource({ data: { x, y, steps, name: Array(count).fill(short(line.name)),
        what: Array(count).fill(line.quantity), low: line.low ? positive(line.low, log) : y,
        high: line.high ? positive(line.high, log) : y } });
      const at = { x: { field: "x" }, y: { field: "y" } };
      const dash = data.groups.length > palette.length ? DASH[Math.floor(line.group / palette.length) % 4] : "solid";
      const glyphs = [];
      if (line.low) {
        glyphs.push(plot.varea(at.x, { field: "low" }, { field: "high" }, { source, fill_color: lead, fill_alpha: 0.18 }));
      }
      if (line.style !== "points") {
        glyphs.push(plot.line(at.x, at.y, { source, line_color: lead, line_width: line.style === "line" ? 2.2 : 1.3,
          line_alpha: line.style === "thin" ? 0.55 : 1, line_dash: line.style === "dashed" ? "dashed" : dash }));
      }
      if (line.style !== "thin" && count <= 60 && ["loss", "gap"].includes(chart.key)) {
        const marker = line.style === "points" ? "square" : MARKERS[line.group % MARKERS.length];
        glyphs.push(plot.scatter(at.x, at.y, { source, marker, size: line.style === "points" ? 10 : 6,
          fill_color: line.style === "points" ? colour("--back") : lead, line_color: lead, line_width: 1.6 }));
      }
      const tips = [["run", "@name"], ["quantity", "@what"], [chart.unit || "value", "@y{0.[00000]}"],
        ["step", "@steps{0,0}"], ...(axis === "steps" ? [] : [[AXES[axis], "@x{0,0.[0]}"]]),
        ...(line.low ? [["band", "@low{0.[0000]} to @high{0.[0000]}"]] : [])];
      plot.add_tools(new Bokeh.HoverTool({ renderers: glyphs.slice(-1), tooltips: tips, mode: "mouse", visible: false,
        line_policy: "nearest" }));
      // Several curves of one recipe share an entry, so that a click hides them together.
      const words = single ? line.quantity : short(data.groups[line.group]);
      const entry = legend.find((one) => one.words === words) ?? { words, renderers: [] };
      if (!entry.renderers.length) legend.push(entry);
      entry.renderers.push(...glyphs);
    }
    if (chart.marks.length) {
      const shown = chart.marks.filter((mark) => !state.logX || mark.at[axis] > 0);
      const source = new Bokeh.ColumnDataSource({ data: { x: shown.map((mark) => mark.at[axis] ?? NaN),
        y: shown.map((mark) => mark.value), what: shown.map((mark) => mark.what), run: shown.map((mark) => short(mark.run)),
        steps: shown.map((mark) => mark.at.steps) } });
      const glyph = plot.scatter({ field: "x" }, { field: "y" }, { source, marker: "inverted_triangle", size: 13,
        fill_color: colour("--event"), line_color: colour("--back"), line_width: 1 });
      plot.add_tools(new Bokeh.HoverTool({ renderers: [glyph], visible: false,
        tooltips: [["event", "@what"], ["run", "@run"], ["step", "@steps{0,0}"]] }));
      legend.push({ words: "event", renderers: [glyph] });
    }
    for (const level of chart.levels) {
      plot.add_layout(new Bokeh.Span({ location: level.value, dimension: "width", line_color: text, line_dash: "dotted",
        line_width: 1.6 }));
      const label = { x: 6, x_units: "screen", y: level.value, text: level.words, text_color: text, text_font_size: "12px" };
      plot.add_layout(new Bokeh.Label(label));
    }
    if (legend.length > 1) {
      const items = legend.map((one) => new Bokeh.LegendItem({ label: { value: one.words }, renderers: one.renderers }));
      plot.add_layout(new Bokeh.Legend({ items, location: "left", orientation: "vertical", click_policy: "hide", padding: 2, margin: 4,
        background_fill_alpha: 0, border_line_color: null, label_text_color: text, label_text_font_size: narrow ? "11px" : "12px",
        ncols: narrow ? 1 : Math.min(3, legend.length), nrows: "auto" }), "below");
    }
    return Bokeh.Plotting.show(plot, place);
  }

  // A canvas is empty on paper, since its size changes there; so a picture of it is printed in its place.
  async function keepPictures() {
    const mine = drawn;
    await new Promise((done) => setTimeout(done, 300));
    for (const [place, view] of mine.entries()) {
      if (drawn !== mine) return;
      const image = document.getElementById(`picture-${data.charts[place].key}`);
      image.src = view.export("png").canvas.toDataURL();
      image.classList.toggle("dark", dark.matches);
    }
    document.documentElement.dataset.printable = "true";
  }

  async function drawAll() {
    const was = drawn;
    drawn = [];
    for (const view of was) view.remove();
    for (const chart of data.charts) {
      const place = document.getElementById(`chart-${chart.key}`);
      place.replaceChildren();
      drawn.push(await draw(chart, place));
    }
    document.documentElement.dataset.drawn = String(drawn.length);
    keepPictures();
  }

  for (const chart of data.charts) {
    const box = document.getElementById(`log-${chart.key}`);
    state.logY[chart.key] = box.checked = chart.logarithmic;
    box.addEventListener("change", () => { state.logY[chart.key] = box.checked; drawAll(); });
  }
  for (const radio of document.querySelectorAll("input[name=axis]")) {
    if (radio.checked) state.axis = radio.value;
    radio.addEventListener("change", () => { state.axis = radio.value; drawAll(); });
  }
  const logX = document.getElementById("log-x");
  logX.addEventListener("change", () => { state.logX = logX.checked; drawAll(); });
  dark.addEventListener("change", drawAll);
  // Closed parts are printed, too.
  window.addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("details:not([open])")) part.dataset.printed = part.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const part of document.querySelectorAll("details[data-printed]")) { part.open = false; delete part.dataset.printed; }
  });
  document.getElementById("switches").hidden = false;
  drawAll();
})();
