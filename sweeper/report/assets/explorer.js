// Ties form, pictures and table together. The form's fields are the filter: whoever filters sets them.

function explore(root, data) {
  const form = root.querySelector("form");
  const status = root.querySelector(".status");
  const details = root.querySelector(".details");
  const columns = [
    { id: "outcome", name: "outcome", of: (t) => t.outcome, values: [...new Set(data.trials.map((t) => t.outcome))].sort() },
    ...data.options,
    ...data.numbers.map((n) => ({ ...n, numeric: true })),
  ];
  const kept = new Set();
  let inside = new Set(data.trials);
  let pointed = null;
  let colors = colorsOf(undefined, data.trials);

  const act = {
    isIn: (trial) => inside.has(trial),
    colorOf: (trial) => colors.of(trial),
    point(trial) {
      if (trial === pointed) return;
      pointed = trial;
      mark();
    },
    keep(trial, fromTable = false) {
      if (trial === null) return;
      if (!kept.delete(trial)) kept.add(trial);
      if (!fromTable && kept.has(trial)) table.reveal(trial);
      mark();
    },
    choose(id, value) {
      const field = (end) => form.elements[`${id}${end}`];
      if (field("-from")) {
        [field("-from").value, field("-to").value] = (value ?? [null, null]).map((v) => (v === null ? "" : Number(v.toPrecision(4))));
      } else {
        field("").value = field("").value === value ? "" : value;
      }
      filter();
    },
  };
  const pictures = [
    scatter(root.querySelector(".scatter"), data, act),
    parallel(root.querySelector(".parallel"), data, act),
  ];
  const table = trialTable(root.querySelector("table"), data, act);
  const views = [...pictures, table];

  function choice(name, id, values, any) {
    const options = values.map(([value, text]) => element("option", { value }, text));
    const first = any ? [element("option", { value: "" }, any)] : [];
    const label = element("label", { for: `by-${id}` }, name);
    return element("div", {}, label, element("select", { id: `by-${id}`, name: id }, ...first, ...options));
  }

  function range(column) {
    const field = (end, word) =>
      element("input", { name: `${column.id}${end}`, type: "number", step: "any", placeholder: word, "aria-label": `${column.name}, ${word}` });
    const both = element("div", { class: "range" }, field("-from", "from"), field("-to", "to"));
    return element("div", {}, element("span", {}, column.name), both);
  }

  function fill() {
    for (const column of columns) {
      form.append(column.numeric ? range(column) : choice(column.name, column.id, column.values.map((v) => [v, v]), "any"));
    }
    const names = data.options.map((o) => [o.id, o.name]);
    form.append(choice("colour by", "color", names.length ? names : [["", "one colour"]]));
    form.append(element("button", { type: "reset" }, "Reset"));
  }

  function wanted() {
    const found = {};
    for (const { id, numeric } of columns) {
      if (numeric) {
        const [from, to] = ["-from", "-to"].map((end) => form.elements[id + end].value);
        if (from !== "" || to !== "") found[id] = [from === "" ? -Infinity : +from, to === "" ? Infinity : +to];
      } else if (form.elements[id].value !== "") {
        found[id] = form.elements[id].value;
      }
    }
    return found;
  }

  function filter() {
    const now = wanted();
    inside = new Set(data.trials.filter((trial) => passes(trial, now, columns)));
    for (const view of views) view.filter(now);
    const unmeasured = [...inside].filter((t) => t.tokens_per_second === null).length;
    status.textContent =
      `${inside.size} of ${data.trials.length} trials shown` + (unmeasured ? `; ${unmeasured} without a number, not in the first picture` : "");
  }

  function mark() {
    const chosen = new Set(pointed ? [...kept, pointed] : kept);
    const marked = new Map([...chosen].map((trial) => [trial, ["chosen"]]));
    for (const role of ["baseline", "winner"]) {
      const trial = data.byNumber.get(data[role]); // marked whatever is chosen
      if (trial) marked.set(trial, [...(marked.get(trial) ?? []), role]);
    }
    for (const view of pictures) view.mark(marked);
    table.mark(chosen, kept);
    const last = pointed ?? [...kept].at(-1);
    details.textContent = last ? inWords(last, data) : "";
  }

  function legend() {
    const items = colors.legend.map(([words, shade]) => {
      const dot = element("i", {});
      dot.style.background = shade;
      return element("li", {}, dot, words);
    });
    root.querySelector(".legend").replaceChildren(...items);
  }

  function draw() {
    colors = colorsOf(data.options.find((o) => o.id === form.elements.color.value), data.trials);
    for (const picture of pictures) picture.draw();
    legend();
    filter();
    mark();
  }

  status.after(keyTo(data));
  root.querySelector(".scatter").after(element("ul", { class: "legend", "aria-label": "Colours" }));
  root.hidden = false;
  root.nextElementSibling.remove(); // what is said to those without scripts
  fill();
  table.draw();
  draw();
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => (event.target.name === "color" ? draw() : filter()));
  form.addEventListener("reset", () => setTimeout(draw));
  let width = root.clientWidth;
  new ResizeObserver(() => {
    if (root.clientWidth === width) return;
    width = root.clientWidth;
    requestAnimationFrame(draw);
  }).observe(root);
}

const explorerData = document.getElementById("explorer-data");
if (explorerData) explore(document.getElementById("explorer"), readTrials(explorerData));
