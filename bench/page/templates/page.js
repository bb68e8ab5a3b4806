// Sort, filter and browse. Every text of the data is set as text, never as HTML.
"use strict";

const page = (() => {
  const BATCH = 60; // examples shown at once
  const KINDS = { lost: "lost", form: "lost the form", knowledge: "lost the knowledge", gained: "learnt" };
  const taken = {};
  const waiting = {};
  let rows = {};
  let files = "."; // the folder of what the page loads
  let shown = BATCH;

  const all = (selector, under = document) => [...under.querySelectorAll(selector)];
  const one = (selector) => document.querySelector(selector);

  function made(tag, text, name) {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (name) element.className = name;
    return element;
  }

  // Rows -----------------------------------------------------------------------------------------

  function checked(name) {
    return new Set(all(`#filters input[name="${name}"]:checked`).map((box) => box.value));
  }

  // The ids of the rows that the filters leave, read from the boxes once for each use.
  function left() {
    const [names, ranks] = [checked("name"), checked("rank")];
    const shown = ([, row]) => !row.rank || !one("#filters") || (names.has(row.name) && ranks.has(String(row.rank)));
    return new Set(Object.entries(rows).filter(shown).map(([id]) => id));
  }

  function filter() {
    const kept = left();
    all("[data-row]").forEach((part) => part.classList.toggle("off", !kept.has(part.dataset.row)));
    all("tbody").forEach((body) => {
      const lines = all("tr[data-row]", body);
      const head = body.querySelector("tr.block");
      if (head) head.classList.toggle("off", lines.every((line) => line.classList.contains("off")));
    });
    const total = Object.keys(rows).length;
    const status = one("#filtered");
    if (status) status.textContent = kept.size === total ? "" : `(${kept.size} of ${total} rows shown)`;
    list();
  }

  // Tables ---------------------------------------------------------------------------------------

  function value(line, index) {
    const cell = line.children[index];
    if (!cell) return NaN;
    if (cell.dataset.v !== undefined) return Number(cell.dataset.v);
    return cell.classList.contains("name") || cell.classList.contains("text") ? cell.textContent.trim() : NaN;
  }

  function order(a, b) {
    if (typeof a === "string" && typeof b === "string") return a.localeCompare(b);
    if (typeof a === "string" || typeof b === "string") return typeof a === "string" ? Infinity : -Infinity;
    if (Number.isNaN(a)) return Number.isNaN(b) ? 0 : Infinity; // what is not known goes last, up or down
    return Number.isNaN(b) ? -Infinity : a - b;
  }

  function sort(heading) {
    const table = heading.closest("table");
    const index = [...heading.parentElement.children].indexOf(heading);
    const first = heading.matches(".name, .text") ? "ascending" : "descending";
    const other = first === "ascending" ? "descending" : "ascending";
    const now = heading.getAttribute("aria-sort") === first ? other : first;
    all("th[aria-sort]", table).forEach((each) => each.removeAttribute("aria-sort"));
    heading.setAttribute("aria-sort", now);
    const sign = now === "ascending" ? 1 : -1;
    all("tbody", table).forEach((body) => {
      const lines = all("tr[data-row]", body).map((line) => [value(line, index), line]);
      lines.sort(([a], [b]) => {
        const found = order(a, b);
        return Math.abs(found) === Infinity ? found : sign * found;
      });
      body.append(...lines.map(([, line]) => line));
    });
  }

  function columns() {
    const hidden = new Set(all("input.columns").filter((box) => !box.checked).map((box) => box.value));
    all("table.board").forEach((table) => {
      const heads = [...table.tHead.rows[0].children];
      heads.forEach((head, index) => {
        if (!head.dataset.group) return;
        const off = hidden.has(head.dataset.group);
        head.classList.toggle("off", off);
        all("tr[data-row]", table).forEach((line) => {
          const cell = line.children[index];
          if (cell && !cell.classList.contains("trouble")) cell.classList.toggle("off", off);
        });
      });
    });
  }

  // Show in the cells what is in their titles, such as intervals: a title needs a pointer, and is not printed.
  function says(on) {
    all("input.says").forEach((box) => { box.checked = on; });
    document.body.classList.toggle("says", on);
    all("tbody [title]").filter((cell) => on && !cell.querySelector(".said")).forEach((cell) => {
      const said = made("span", undefined, "said");
      const lines = cell.title.replace("95 % interval ", "").replace(/ \(seed /g, "\u00a0(seed\u00a0").split("; ");
      said.append(...lines.map((line) => made("span", line)));
      cell.append(said);
    });
  }

  // Hide the configurations of a search that are not in the state that its list names.
  function states() {
    const list = one("select.states");
    all("[data-state]").forEach((line) => {
      line.classList.toggle("out", Boolean(list.value) && !line.dataset.state.split(" ").includes(list.value));
    });
  }

  // Draw the figures of a search when their part is opened. The texts in them were escaped when they were drawn.
  function draw(part) {
    if (!part.open || part.dataset.drawn) return;
    part.dataset.drawn = "yes";
    load(part.dataset.load, (figures) => {
      part.querySelector("[role=status]").remove();
      for (const { name, title, svg } of figures) {
        const figure = made("figure", undefined, name);
        const scroll = made("div", undefined, "scroll");
        scroll.tabIndex = 0;
        scroll.append(document.importNode(new DOMParser().parseFromString(svg, "image/svg+xml").documentElement, true));
        figure.append(made("figcaption", `${title}.`), scroll);
        part.append(figure);
      }
    }, part.querySelector("[role=status]"));
  }

  // Paper ------------------------------------------------------------------------------------------

  const PAPER = 960; // CSS pixels between the margins of a letter in landscape, as page.css has it
  let unfolded = [];

  // Open what is closed, except figures that were not loaded, and make tables that are too wide smaller.
  function unfold() {
    if (document.documentElement.classList.contains("paper")) return;
    unfolded = all("main details:not([open])").filter((part) => !part.matches(".late:not([data-drawn])"));
    unfolded.forEach((part) => { part.open = true; });
    document.documentElement.classList.add("paper");
    all("main table").map((table) => [table, table.offsetWidth]).filter(([, width]) => width > PAPER)
      .forEach(([table, width]) => { table.style.zoom = PAPER / width; });
  }

  function fold() {
    document.documentElement.classList.remove("paper");
    all("main table").forEach((table) => { table.style.zoom = ""; });
    unfolded.forEach((part) => { part.open = false; });
    unfolded = [];
  }

  // Changed examples -------------------------------------------------------------------------------

  function load(name, then, status = one("#browsed")) {
    if (taken[name]) return then(taken[name]);
    waiting[name] = then;
    const script = made("script");
    script.src = `${files}/data/${name}.js`;
    script.onerror = () => { status.textContent = `${script.getAttribute("src")} is missing; copy the whole folder.`; };
    document.head.append(script);
  }

  function take(name, data) {
    taken[name] = data;
    if (waiting[name]) waiting[name](data);
    delete waiting[name];
  }

  function matching(changes, want, kept) {
    return changes.filter(([row, , place, , , kind]) =>
      (!want.kind || kind === want.kind || (want.kind === "lost" && kind !== "gained"))
      && (!want.row || row === want.row) && (!want.place || place === want.place) && kept.has(row));
  }

  // By how many methods an example is lost. If no row, place or filter is chosen, that is the number that was counted
  // before the list was limited; the rows of some of these losses may not be in the list.
  function lostBy(example, changes, counted) {
    return counted ? example.lost : new Set(changes.map(([row]) => (rows[row] || {}).method)).size;
  }

  // "lora r16 seeds 0, 1, r32 seed 2; dora r16": the rows that gave a reply, each name once with its ranks.
  function names(by) {
    const ranks = new Map();
    for (const [row, seed] of by) {
      const { name, rank } = rows[row] || { name: row, rank: 0 };
      if (!ranks.has(name)) ranks.set(name, new Map());
      const seeds = ranks.get(name);
      if (!seeds.has(rank)) seeds.set(rank, new Set());
      if (seed !== null) seeds.get(rank).add(seed);
    }
    const listed = ([rank, seeds]) => [
      rank ? `r${rank}` : "",
      seeds.size ? `${seeds.size > 1 ? "seeds" : "seed"} ${[...seeds].join(", ")}` : "",
    ].filter(Boolean).join(" ");
    return [...ranks].map(([name, of]) => `${name} ${[...of].map(listed).join(", ")}`.trim()).join("; ");
  }

  function card(data, example, changes, many) {
    const box = made("article", undefined, "example");
    if (example.picture) {
      const picture = made("img");
      picture.src = `${files}/pictures/${example.picture}`;
      picture.alt = `picture of example ${example.id}`;
      picture.loading = "lazy";
      box.append(picture);
    }
    const question = made("p");
    question.append(made("strong", example.question), " ", made("small", example.id));
    const answers = made("p", `accepted: ${example.answers.join(" | ")}`);
    box.append(question, answers);
    const percent = (score) => `score ${(100 * score).toFixed(0)}`;
    if (example.before !== undefined) {
      const before = made("p", `before training: ${example.before || "(empty)"} `);
      before.append(made("small", percent(example.base)));
      box.append(before);
    }
    const groups = new Map();
    for (const [row, seed, place, reply, score, kind, before, base] of changes) {
      const key = `${reply}:${kind}:${many.places ? place : ""}:${before}`;
      if (!groups.has(key)) groups.set(key, { reply, kind, score, place, before, base, by: [] });
      groups.get(key).by.push([row, many.seeds ? seed : null]);
    }
    const replies = made("ul");
    for (const { reply, kind, score, place, before, base, by } of groups.values()) {
      const item = made("li");
      item.append(made("span", KINDS[kind], "kind"));
      if (before !== undefined) {
        item.append(` after its stage: ${data.replies[before] || "(empty)"} `, made("small", percent(base)), " · at the end:");
      }
      const where = many.places ? `${one("#browse").dataset.where} ${place}: ` : "";
      item.append(` ${data.replies[reply] || "(empty)"} `, made("small", `${percent(score)} · ${where}${names(by)}`));
      replies.append(item);
    }
    box.append(replies);
    return box;
  }

  function list() {
    const form = one("#browse");
    if (!form || !form.task.value) return;
    const name = form.task.value;
    load(name, (data) => {
      if (form.task.value !== name) return;
      const want = { row: form.row.value, kind: form.kind.value, place: form.place.value };
      const kept = left();
      const least = Number(form.least.value) || 1;
      const counted = want.kind === "lost" && !want.row && !want.place && kept.size === Object.keys(rows).length;
      const found = data.examples.map((example) => [example, matching(example.changes, want, kept)])
        .filter(([example, changes]) => changes.length && lostBy(example, changes, counted) >= least);
      const several = (place) => new Set(data.examples.flatMap(({ changes }) => changes.map((it) => it[place]))).size > 1;
      const many = { seeds: several(1), places: several(2) };
      const whole = data.limited ? `the ${data.examples.length} listed` : data.compared;
      one("#browsed").textContent = `${found.length} of ${whole} examples of ${data.task}`
        + ` (${data.metric}), ${Math.min(shown, found.length)} shown`
        + (data.limited && !counted ? ". Counts of methods are those of the listed changes." : "");
      one("#examples").replaceChildren(
        ...found.slice(0, shown).map(([example, changes]) => card(data, example, changes, many)));
      one("#more").hidden = found.length <= shown;
    });
  }

  function options(select, pairs) {
    for (const [value, text] of pairs) {
      const option = made("option", text);
      option.value = value;
      select.append(option);
    }
  }

  function browse() {
    const form = one("#browse");
    if (!form) return;
    options(form.row, Object.entries(rows).filter(([, row]) => row.rank)
      .map(([id, row]) => [id, `${row.name} r${row.rank}`]));
    form.addEventListener("input", () => { shown = BATCH; list(); });
    form.addEventListener("submit", (event) => event.preventDefault());
    one("#more").addEventListener("click", () => { shown += BATCH; list(); });
  }

  function start(known, place) {
    rows = known;
    files = place;
    all("th .sort").forEach((button) => button.addEventListener("click", () => sort(button.closest("th"))));
    all("input.columns").forEach((box) => box.addEventListener("change", columns));
    all("#filters input").forEach((box) => box.addEventListener("change", filter));
    for (const [kind, on] of [["all", true], ["none", false]]) {
      all(`[data-${kind}]`).forEach((button) => button.addEventListener("click", () => {
        all(`#filters input[name="${button.dataset[kind]}"]`).forEach((box) => { box.checked = on; });
        filter();
      }));
    }
    if (window.innerWidth < 700) { // a phone shows forgetting and differences first
      all('input.columns[value="sources"]').forEach((box) => { box.checked = false; });
    }
    all("input.says").forEach((box) => box.addEventListener("change", () => says(box.checked)));
    if (one("#draw")) {
      one("#draw").addEventListener("click", () => all("details.late").forEach((part) => { part.open = true; }));
    }
    window.addEventListener("beforeprint", unfold);
    window.addEventListener("afterprint", fold);
    all("select.states").forEach((select) => select.addEventListener("change", states));
    all("details.late").forEach((part) => part.addEventListener("toggle", () => draw(part)));
    columns();
    browse();
    list();
  }

  return { start, take };
})();
