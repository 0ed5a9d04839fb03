// The curves of a training as inline SVG: losses by step, the steps and the losses on plain scales.

const SIZE = { width: 720, height: 300, left: 52, right: 14, top: 14, bottom: 34 };

function drawCurves(curves) {
  const all = [...curves.train, ...curves.valid];
  if (all.length < 2) return element("p", { class: "soft" }, "The run has no curve.");
  const steps = limits(all.map(([step]) => step)), losses = limits(all.map(([, loss]) => loss));
  const across = (step) => SIZE.left + ((step - steps[0]) / (steps[1] - steps[0])) * (SIZE.width - SIZE.left - SIZE.right);
  const down = (loss) => SIZE.height - SIZE.bottom - ((loss - losses[0]) / (losses[1] - losses[0])) * (SIZE.height - SIZE.top - SIZE.bottom);
  const made = drawing("svg", { viewBox: "0 0 " + SIZE.width + " " + SIZE.height, role: "img", "aria-label": "losses by step" });
  for (const loss of ticks(losses, 5)) {
    made.append(drawing("line", { class: "grid", x1: SIZE.left, x2: SIZE.width - SIZE.right, y1: down(loss), y2: down(loss) }));
    made.append(label(SIZE.left - 8, down(loss) + 4, "end", tickText(loss)));
  }
  for (const step of ticks(steps, 6)) made.append(label(across(step), SIZE.height - SIZE.bottom + 18, "middle", tickText(step)));
  made.append(label(SIZE.width - SIZE.right, SIZE.height - 2, "end", "step"));
  for (const name of ["train", "valid"]) {
    const points = curves[name].map(([step, loss]) => across(step).toFixed(1) + "," + down(loss).toFixed(1));
    made.append(drawing("polyline", { class: name, points: points.join(" ") }));
    if (name === "valid") for (const [step, loss] of curves.valid) made.append(drawing("circle", { class: "dot", cx: across(step), cy: down(loss), r: 3 }));
  }
  const legend = element("p", { class: "soft" }, "Loss in nats a token: ", coloured("\u2014 training", "--mark"), "  ", coloured("\u25cf validation", "--warm"));
  return element("figure", {}, legend, made);
}

function drawing(tag, attributes) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

function label(x, y, anchor, text) {
  const made = drawing("text", { x, y, "text-anchor": anchor });
  made.textContent = text;
  return made;
}

function coloured(text, name) {
  const made = element("span", {}, text);
  made.style.color = "var(" + name + ")";
  return made;
}

function limits(values) {
  const low = Math.min(...values), high = Math.max(...values);
  return low === high ? [low - 0.5, high + 0.5] : [low, high];
}

// Round values within limits, about `count` of them.
function ticks([low, high], count) {
  const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  return Array.from({ length: Math.floor(high / step) - Math.ceil(low / step) + 1 }, (_, place) => (Math.ceil(low / step) + place) * step);
}

const tickText = (value) => Number(value.toPrecision(6)).toLocaleString("en");
