// Parallel coordinates: a line for each trial through its options, its memory and its throughput.

function parallel(place, data, act) {
  const [rate, memory] = data.numbers;
  const axes = [
    ...data.options,
    { ...memory, numeric: true },
    { ...rate, numeric: true },
  ];
  const margin = { left: 70, right: 80, top: 58, bottom: 14 };
  const height = 360;
  let frame, lines, over, brush, xs, ys;

  const bottom = height - margin.bottom;
  const between = (part) => bottom - part * (bottom - margin.top);

  // trial -> height on the axis; null where it has no value there. Equal values are fanned out.
  function heights(axis) {
    if (axis.numeric) {
      const values = data.trials.map(axis.of).filter((v) => v !== null);
      const [low, high] = values.length ? [Math.min(...values), Math.max(...values)] : [0, 1];
      axis.range = [low, high];
      return (trial) => (axis.of(trial) === null ? null : between(high > low ? (axis.of(trial) - low) / (high - low) : 0.5));
    }
    const count = axis.values.length;
    const found = new Map();
    axis.values.forEach((value, index) => {
      const members = data.trials.filter((t) => axis.of(t) === value);
      members.sort((a, b) => (rate.of(a) ?? -1) - (rate.of(b) ?? -1));
      members.forEach((trial, n) => {
        const aside = members.length > 1 ? (n / (members.length - 1) - 0.5) * 0.6 : 0;
        found.set(trial, between((index + 0.5 + aside) / count));
      });
    });
    return (trial) => found.get(trial) ?? null;
  }

  function pathOf(trial) {
    let path = "";
    let pen = "M";
    ys.forEach((y, n) => {
      const at = y(trial);
      if (at === null) return;
      path += `${pen}${xs[n].toFixed(1)},${at.toFixed(1)}`;
      pen = "L";
    });
    return path;
  }

  function axisParts(axis, n) {
    const x = xs[n];
    const parts = [
      drawn("line", { class: "rule", x1: x, x2: x, y1: margin.top, y2: bottom }),
      drawn("text", { class: "axis", x, y: n % 2 ? 20 : 40, "text-anchor": "middle" }, axis.name, drawn("title", {}, axis.name)),
    ];
    if (axis.numeric) {
      const [low, high] = axis.range;
      for (const v of high > low ? ticks(low, high, 5) : [low]) {
        const y = between(high > low ? (v - low) / (high - low) : 0.5);
        parts.push(drawn("text", { class: "choice", x: x + 6, y: y + 4 }, shown(v) || "0"));
      }
      const grip = drawn("rect", { class: "grip", x: x - 14, width: 28, y: margin.top, height: bottom - margin.top });
      grip.addEventListener("pointerdown", (event) => drag(axis, grip, event));
      parts.push(grip);
    } else {
      const every = Math.ceil(axis.values.length / 16);
      axis.values.forEach((value, index) => {
        if (index % every) return;
        const text = drawn("text", { class: "choice pick", x: x + 6, y: between((index + 0.5) / axis.values.length) + 4 }, value, drawn("title", {}, `${axis.name}=${value}`));
        text.addEventListener("click", (event) => {
          event.stopPropagation();
          act.choose(axis.id, value);
        });
        parts.push(text);
      });
    }
    return parts;
  }

  // Near an end of the axis nothing is cut off there: null.
  function drag(axis, grip, start) {
    const box = frame.getBoundingClientRect();
    const [low, high] = axis.range;
    const part = (event) => (bottom - (event.clientY - box.top)) / (bottom - margin.top);
    const from = part(start);
    const moved = (event) => Math.abs(event.clientY - start.clientY) > 4;
    const move = (event) => {
      if (!moved(event)) return;
      const [least, most] = [from, part(event)].sort((a, b) => a - b);
      const value = (at) => low + at * (high - low);
      act.choose(axis.id, [least < 0.03 ? null : value(least), most > 0.97 ? null : value(most)]);
    };
    const end = (event) => {
      grip.removeEventListener("pointermove", move);
      if (!moved(event)) act.choose(axis.id, undefined);
    };
    grip.setPointerCapture(start.pointerId);
    grip.addEventListener("pointermove", move);
    grip.addEventListener("pointerup", end, { once: true });
    grip.addEventListener("click", (event) => event.stopPropagation(), { once: true });
  }

  function draw() {
    const width = Math.max(place.parentElement.clientWidth, margin.left + margin.right + 110 * (axes.length - 1));
    xs = axes.map((_, n) => margin.left + (n * (width - margin.left - margin.right)) / Math.max(axes.length - 1, 1));
    ys = axes.map(heights);
    lines = data.trials.map((trial) => drawn("path", { class: `line ${kindOf(trial)}`, d: pathOf(trial), stroke: act.colorOf(trial) }));
    over = drawn("g", { class: "over" });
    brush = drawn("g", {});
    frame = drawn(
      "svg",
      { role: "img", width, height, class: data.trials.length > 200 ? "crowd" : "", "aria-label": `Options, memory and throughput of ${data.trials.length} trials; the table below has the numbers` },
      ...lines, over, ...axes.flatMap(axisParts), brush,
    );
    frame.addEventListener("pointermove", (event) => act.point(nearest(event)));
    frame.addEventListener("pointerleave", () => act.point(null));
    frame.addEventListener("click", (event) => act.keep(nearest(event)));
    place.replaceChildren(frame);
    // Names stand in two rows, so each has the room of two axes, and what the frame's edges leave of it.
    const apart = (width - margin.left - margin.right) / Math.max(axes.length - 1, 1);
    frame.querySelectorAll("text.axis").forEach((text, n) => fit(text, 2 * Math.min(apart, xs[n], width - xs[n]) - 12));
    for (const text of frame.querySelectorAll("text.choice")) {
      fit(text, (+text.getAttribute("x") > xs.at(-1) ? margin.right : apart) - 12);
    }
  }

  function nearest(event) {
    const box = frame.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    const n = Math.min(xs.length - 2, Math.max(0, xs.findIndex((x) => x > px) - 1));
    if (xs.length < 2) return null;
    const part = (px - xs[n]) / (xs[n + 1] - xs[n]);
    let best = null;
    let least = 10;
    for (const trial of data.trials) {
      if (!act.isIn(trial)) continue;
      const [a, b] = [ys[n](trial), ys[n + 1](trial)];
      if (a === null || b === null) continue;
      const distance = Math.abs(a + part * (b - a) - py);
      if (distance < least) [best, least] = [trial, distance];
    }
    return best;
  }

  return {
    draw,
    filter(wanted) {
      data.trials.forEach((trial, n) => lines[n].classList.toggle("out", !act.isIn(trial)));
      brush.replaceChildren();
      axes.forEach((axis, n) => {
        if (!axis.numeric || wanted[axis.id] === undefined) return;
        const [low, high] = axis.range;
        const at = (v) => between(Math.min(1, Math.max(0, (v - low) / (high - low || 1))));
        const [top, end] = [at(wanted[axis.id][1]), at(wanted[axis.id][0])];
        brush.append(drawn("rect", { class: "brush", x: xs[n] - 7, width: 14, y: top, height: Math.max(end - top, 2) }));
      });
    },
    mark(marked) {
      over.replaceChildren(...[...marked].flatMap(([trial, roles]) => linesOf(roles, pathOf(trial))));
    },
  };
}
