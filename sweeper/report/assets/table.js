// The trials as a table that sorts by any column.

function trialTable(place, data, act) {
  const columns = [
    { id: "trial", name: "trial", of: (t) => t.trial, number: true },
    { id: "outcome", name: "outcome", of: (t) => t.outcome },
    { ...data.numbers[0], number: true },
    { ...data.numbers[1], name: "peak memory", number: true },
    ...data.options.map((o) => ({ ...o, order: o.numeric ? undefined : new Map(o.values.map((v, n) => [v, n])) })),
  ];
  const head = element("tr");
  const body = place.querySelector("tbody");
  const rows = new Map();
  let sorted = { id: "rate", down: true };
  let marked = new Set();

  function classOf(column) {
    return `${column.number ? "number" : ""} ${column.id === "trial" ? "key" : ""}`.trim();
  }

  function header(column) {
    const button = element("button", { type: "button" }, ...breakable(column.name), element("span", { "aria-hidden": "true" }));
    button.addEventListener("click", () => {
      const same = sorted.id === column.id;
      sorted = { id: column.id, down: same ? !sorted.down : column.id === "rate" };
      sort();
    });
    return element("th", { scope: "col", "data-column": column.id, class: classOf(column) }, button);
  }

  function row(trial) {
    const keep = element("button", { type: "button", class: "keep", "aria-pressed": "false" }, String(trial.trial));
    const links = element("a", { href: `trials/${String(trial.trial).padStart(4, "0")}/` }, "files");
    links.setAttribute("aria-label", `files of trial ${trial.trial}`);
    const cells = columns.map((column, n) => {
      const value = column.of(trial);
      if (column.text) return element("td", { class: classOf(column) }, column.text(trial));
      const text = typeof value === "number" && column.id !== "trial" ? shown(value) : String(value ?? "");
      return element("td", { class: classOf(column) }, ...(n ? breakable(text) : [keep]));
    });
    if (trial.differs) cells[1].append(", trains differently");
    if (trial.trial === data.baseline) cells[0].append(" baseline");
    if (trial.trial === data.winner) cells[0].append(" winner");
    const made = element("tr", { "data-trial": trial.trial }, ...cells, element("td", {}, links));
    made.addEventListener("pointerenter", () => act.point(trial));
    made.addEventListener("focusin", () => act.point(trial));
    made.addEventListener("click", (event) => event.target.closest("a") || act.keep(trial, true));
    return made;
  }

  function sort() {
    const column = columns.find((c) => c.id === sorted.id);
    const value = (t) => {
      const found = column.of(t);
      return column.order ? column.order.get(found) : found;
    };
    const inOrder = [...data.trials].sort((a, b) => {
      const [x, y] = [value(a), value(b)];
      const [none, other] = [x === null || x === undefined, y === null || y === undefined];
      if (none || other) return none - other || a.trial - b.trial; // what has no value comes last either way
      const way = x < y ? -1 : x > y ? 1 : 0;
      return (sorted.down ? -way : way) || a.trial - b.trial;
    });
    body.append(...inOrder.map((t) => rows.get(t)));
    for (const cell of head.querySelectorAll("th[data-column]")) {
      const own = cell.dataset.column === sorted.id;
      if (own) cell.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  return {
    draw() {
      head.replaceChildren(...columns.map(header), element("th", { scope: "col" }, "files"));
      place.querySelector("thead").replaceChildren(head);
      for (const trial of data.trials) rows.set(trial, row(trial));
      body.addEventListener("pointerleave", () => act.point(null));
      sort();
    },
    filter: () => data.trials.forEach((trial) => (rows.get(trial).hidden = !act.isIn(trial))),
    mark(now, kept) {
      for (const trial of marked) {
        rows.get(trial).classList.remove("pointed", "kept");
        rows.get(trial).querySelector("button").setAttribute("aria-pressed", "false");
      }
      for (const trial of now) rows.get(trial).classList.add("pointed");
      for (const trial of kept) {
        rows.get(trial).classList.add("kept");
        rows.get(trial).querySelector("button").setAttribute("aria-pressed", "true");
      }
      marked = now;
    },
    reveal(trial) {
      const [box, at] = [place.parentElement, rows.get(trial)];
      box.scrollTop = at.offsetTop - box.clientHeight / 2;
    },
  };
}
