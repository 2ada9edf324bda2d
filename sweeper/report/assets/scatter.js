// Throughput against memory, with the Pareto front and the memory limit.

function scatter(place, data, act) {
  const [rate, memory] = data.numbers;
  const points = data.trials.filter((trial) => trial.tokens_per_second !== null);
  const limit = data.limit_bytes === null ? null : data.limit_bytes / data.memory.divisor;
  const margin = { left: 58, right: 16, top: 22, bottom: 42 };
  let scale, dots, over, frame;

  function scales(width, height) {
    const xs = points.map(memory.of);
    let [low, high] = [Math.min(...xs), Math.max(...xs)];
    if (limit !== null && limit < 2 * high) high = Math.max(high, limit);
    const room = (high - low || high || 1) * 0.06;
    [low, high] = [Math.max(0, low - room), high + room];
    const top = Math.max(...points.map(rate.of)) * 1.08;
    return {
      low, high, top,
      x: (v) => margin.left + ((v - low) / (high - low)) * (width - margin.left - margin.right),
      y: (v) => height - margin.bottom - (v / top) * (height - margin.top - margin.bottom),
    };
  }

  function axes(width, height) {
    const { x, y, low, high, top } = scale;
    const bottom = height - margin.bottom;
    const parts = [];
    for (const v of ticks(low, high, Math.max(3, width / 110))) {
      parts.push(drawn("line", { class: "grid", x1: x(v), x2: x(v), y1: margin.top, y2: bottom }));
      parts.push(drawn("text", { class: "tick", x: x(v), y: bottom + 16, "text-anchor": "middle" }, shown(v) || "0"));
    }
    for (const v of ticks(0, top, 5)) {
      parts.push(drawn("line", { class: "grid", x1: margin.left, x2: width - margin.right, y1: y(v), y2: y(v) }));
      parts.push(drawn("text", { class: "tick", x: margin.left - 6, y: y(v) + 4, "text-anchor": "end" }, shown(v)));
    }
    parts.push(drawn("text", { class: "axis", x: (margin.left + width - margin.right) / 2, y: height - 6, "text-anchor": "middle" }, memory.name));
    parts.push(drawn("text", { class: "axis", x: 4, y: 12 }, "tokens/s"));
    return parts;
  }

  function guides(width) {
    const parts = [];
    const front = data.front.map((n) => data.byNumber.get(n)).sort((a, b) => memory.of(a) - memory.of(b));
    if (front.length) {
      let path = `M${scale.x(memory.of(front[0]))},${scale.y(0)}`;
      for (const t of front) path += `H${scale.x(memory.of(t))}V${scale.y(rate.of(t))}`;
      parts.push(drawn("path", { class: "front", d: `${path}H${width - margin.right}` }));
    }
    if (limit !== null) {
      const inside = limit <= scale.high;
      const words = `memory limit ${data.limit}${inside ? "" : " →"}`;
      const at = inside ? scale.x(limit) : width - margin.right;
      if (inside) parts.push(drawn("line", { class: "limit", x1: at, x2: at, y1: margin.top, y2: scale.y(0) }));
      parts.push(drawn("text", { class: "limit", x: at - 4, y: margin.top - 8, "text-anchor": "end" }, words));
    }
    return parts;
  }

  function nameOf(trial, roles) {
    const words = roles.filter((role) => role !== "chosen");
    return words.length ? words.join(", ") : String(trial.trial);
  }

  function draw() {
    const width = Math.max(place.clientWidth, 280);
    const height = Math.min(400, Math.max(280, width * 0.55));
    scale = scales(width, height);
    const size = points.length > 200 ? 3.5 : 5;
    dots = points.map((trial) => pointOf(trial, scale.x(memory.of(trial)), scale.y(rate.of(trial)), size, act.colorOf(trial)));
    over = drawn("g", { class: "over" });
    frame = drawn(
      "svg",
      { role: "img", width, height, "aria-label": `Throughput against memory of ${points.length} trials; the table below has the numbers` },
      ...axes(width, height), ...guides(width), ...dots, over,
    );
    frame.addEventListener("pointermove", (event) => act.point(nearest(event)));
    frame.addEventListener("pointerleave", () => act.point(null));
    frame.addEventListener("click", (event) => act.keep(nearest(event)));
    place.replaceChildren(frame);
  }

  function nearest(event) {
    const box = frame.getBoundingClientRect();
    const [px, py] = [event.clientX - box.left, event.clientY - box.top];
    let best = null;
    let least = 18 ** 2;
    for (const trial of points) {
      if (!act.isIn(trial)) continue;
      const distance = (scale.x(memory.of(trial)) - px) ** 2 + (scale.y(rate.of(trial)) - py) ** 2;
      if (distance < least) [best, least] = [trial, distance];
    }
    return best;
  }

  return {
    draw,
    filter: () => points.forEach((trial, n) => dots[n].classList.toggle("out", !act.isIn(trial))),
    mark(marked) {
      over.replaceChildren();
      for (const [trial, roles] of marked) {
        if (trial.tokens_per_second === null) continue;
        const [x, y] = [scale.x(memory.of(trial)), scale.y(rate.of(trial))];
        const flip = x > place.clientWidth - 110;
        over.append(
          ...ringsOf(roles, x, y),
          drawn("text", { class: "name", x: x + (flip ? -15 : 15), y: y + 4, "text-anchor": flip ? "end" : "start" }, nameOf(trial, roles)),
        );
      }
    },
  };
}
