// The colours of an option's values: of few each its own, of many numbers a scale, of many words the rest share one.

const COLORS = Array.from({ length: 8 }, (_, n) => `var(--color${n})`); // of the scheme, light or dark
const REST = COLORS.at(-1);
const STEPS_IN_LEGEND = 5;

// -> of: a trial's colour; legend: [words, colour] of each that a reader is to know.
function colorsOf(option, trials) {
  if (!option) return { of: () => COLORS[0], legend: [] };
  const without = trials.some((t) => option.value(t) === null);
  const found = new Map(shadesOf(option, trials, without));
  const legend = legendOf(option, found);
  if (without) legend.push([`without ${option.name}`, REST]);
  return { of: (trial) => found.get(option.value(trial)) ?? REST, legend };
}

function shadesOf({ values, value }, trials, without) {
  if (values.length + without <= COLORS.length) return values.map((v, n) => [v, COLORS[n]]);
  if (values.every((v) => !isNaN(v))) return values.map((v, n) => [v, between(n / (values.length - 1))]);
  const count = new Map();
  for (const trial of trials) count.set(value(trial), (count.get(value(trial)) ?? 0) + 1);
  const often = [...values].sort((a, b) => (count.get(b) ?? 0) - (count.get(a) ?? 0)).slice(0, COLORS.length - 1);
  return values.filter((v) => often.includes(v)).map((v, n) => [v, COLORS[n]]);
}

// From the least to the most, evenly in what is seen.
function between(part) {
  return `color-mix(in oklab, var(--least), var(--most) ${Math.round(100 * part)}%)`;
}

function legendOf({ name, values }, found) {
  const steps = Array.from({ length: STEPS_IN_LEGEND }, (_, n) => Math.round((n * (found.size - 1)) / (STEPS_IN_LEGEND - 1)));
  const shown = [...found].filter((_, n) => found.size <= COLORS.length || steps.includes(n));
  const legend = shown.map(([value, color]) => [`${name}=${value}`, color]);
  if (found.size < values.length) legend.push([`other values of ${name}`, REST]);
  return legend;
}
