// What the marks of a trial mean: its point and its line in each picture, and the key to them.

const KINDS = {
  measured: { words: "measured", of: (t) => t.tokens_per_second !== null && t.outcome === "measured" && !t.differs },
  early: { words: "stopped early: an estimate", of: (t) => t.tokens_per_second !== null && t.outcome !== "measured" && !t.differs },
  differs: { words: "trains differently from the baseline", of: (t) => t.tokens_per_second !== null && t.differs },
  failed: { words: "without a number", of: (t) => t.tokens_per_second === null },
};
// Drawn one over the other, so that a trial that is several of them shows each.
const ROLES = {
  chosen: "pointed at, or kept by a click",
  baseline: "baseline",
  winner: "winner",
};

function kindOf(trial) {
  return Object.keys(KINDS).find((kind) => KINDS[kind].of(trial));
}

function pointOf(trial, x, y, r, color) {
  const kind = kindOf(trial);
  if (kind !== "differs") return drawn("circle", { class: `dot ${kind}`, cx: x, cy: y, r, stroke: color, fill: color });
  return drawn("path", { class: `dot ${kind}`, d: `M${x - r},${y - r}l${2 * r},${2 * r}m0,${-2 * r}l${-2 * r},${2 * r}`, stroke: color });
}

function ringsOf(roles, x, y) {
  return roles.map((role) => drawn("circle", { class: `ring ${role}`, cx: x, cy: y, r: role === "chosen" ? 12 : 8.5 }));
}

// A kept trial's line is cased: a broad one beneath a narrow one.
function linesOf(roles, d) {
  return roles.flatMap((role) => [
    ...(role === "chosen" ? [drawn("path", { class: "line casing", d })] : []),
    drawn("path", { class: `line ${role}`, d }),
  ]);
}

function keyTo(data) {
  const item = (words, ...sample) =>
    element("li", {}, drawn("svg", { width: 64, height: 28, "aria-hidden": "true" }, ...sample), words);
  const line = "M26,14H62";
  const present = Object.entries(KINDS).filter(([, kind]) => data.trials.some(kind.of));
  const kinds = present.map(([name, { words, of }]) => {
    const point = name === "failed" ? [] : [pointOf(data.trials.find(of), 13, 14, 5, COLORS[0])];
    return item(words, ...point, drawn("path", { class: `line ${name}`, d: line, stroke: COLORS[0] }));
  });
  const there = { chosen: true, baseline: data.byNumber.has(data.baseline), winner: data.byNumber.has(data.winner) };
  const roles = Object.entries(ROLES).filter(([role]) => there[role]);
  const marks = roles.reverse().map(([role, words]) => item(words, ...ringsOf([role], 13, 14), ...linesOf([role], line)));
  return element("ul", { class: "marks", "aria-label": "What the marks mean" }, ...marks, ...kinds);
}
