// The trials as data: how their numbers are written, and which of them a filter lets through.

const MANY_VALUES = 12; // an option of more numbers than this is an axis of numbers

function readTrials(source) {
  const data = JSON.parse(source.textContent);
  const peaks = data.trials.map((trial) => trial.peak_bytes ?? 0);
  const gib = Math.max(...peaks) >= 2 ** 30;
  const memory = { divisor: gib ? 2 ** 30 : 2 ** 20, unit: gib ? "GiB" : "MiB" };
  const numbers = [
    { id: "rate", name: "tokens/s", of: (trial) => trial.tokens_per_second, text: (trial) => trial.rate },
    {
      id: "memory",
      name: `peak memory (${memory.unit})`,
      of: (trial) => (trial.peak_bytes === null ? null : trial.peak_bytes / memory.divisor),
      text: (trial) => trial.peak ?? "",
    },
  ];
  const options = data.options.map((option, index) => {
    const numeric = option.values.length > MANY_VALUES && option.values.every((v) => !isNaN(v));
    const of = (trial) => trial.values[index];
    return {
      ...option,
      id: `option${index}`,
      numeric,
      value: of,
      of: numeric ? (trial) => (of(trial) === null ? null : Number(of(trial))) : of,
    };
  });
  return { ...data, options, numbers, memory, byNumber: new Map(data.trials.map((t) => [t.trial, t])) };
}

function shown(value) {
  if (value === null || value === undefined) return "";
  const rounded = Number(value.toPrecision(4));
  return rounded >= 1000 ? rounded.toLocaleString("en-US") : String(rounded);
}

function inWords(trial, data) {
  const [rate, memory] = data.numbers.map((number) => number.text(trial));
  const said = [`Trial ${trial.trial}`];
  if (trial.trial === data.winner) said[0] += " (the winner)";
  if (trial.trial === data.baseline) said[0] += " (the baseline)";
  if (rate) said.push(`${rate} tokens/s`, memory);
  if (trial.outcome !== "measured") said.push(`${trial.outcome}${trial.reason ? `: ${trial.reason}` : ""}`);
  if (trial.differs) said.push("trains differently");
  data.options.forEach((option, index) => {
    if (trial.values[index] !== null) said.push(`${option.name}=${trial.values[index]}`);
  });
  return said.join(", ");
}

// A filter: id -> a value that must be equal, or [low, high] between which a number must lie.
function passes(trial, filter, columns) {
  return columns.every(({ id, of }) => {
    const wanted = filter[id];
    if (wanted === undefined) return true;
    const value = of(trial);
    if (!Array.isArray(wanted)) return value === wanted;
    return value !== null && value >= wanted[0] && value <= wanted[1];
  });
}

// A long name goes on in a new line behind its dots and strokes.
function breakable(text) {
  return text.split(/(?<=[._])/).flatMap((part, n) => (n ? [element("wbr"), part] : [part]));
}

function element(name, attributes = {}, ...children) {
  return filled(document.createElement(name), attributes, children);
}

function drawn(name, attributes = {}, ...children) {
  return filled(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
}

function filled(made, attributes, children) {
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// Cuts a text that is wider than its room; the whole of it shows when pointed at.
function fit(text, room) {
  const whole = text.firstChild;
  const full = whole.data;
  if (text.getComputedTextLength() <= room) return;
  let [least, most] = [0, full.length];
  while (least < most) {
    const middle = Math.ceil((least + most) / 2);
    whole.data = `${full.slice(0, middle)}…`;
    if (text.getComputedTextLength() <= room) least = middle;
    else most = middle - 1;
  }
  whole.data = `${full.slice(0, least)}…`;
}

// Round numbers that divide a range into about `count` parts.
function ticks(low, high, count) {
  const span = high - low || Math.abs(high) || 1;
  const rough = span / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
  const found = [];
  for (let n = Math.ceil(low / step); n * step <= high + 1e-9 * span; n++) found.push(Number((n * step).toPrecision(12)));
  return found;
}
