// The libraries and the data travel as JSON strings, so that nothing in them can end this page's markup. Whatever comes
// from the catalogue reaches the page as text: DataTables takes HTML, hence `escaped`, the rest goes by textContent.
const read = (id) => JSON.parse(document.getElementById(id).textContent);
const library = (id) => import(URL.createObjectURL(new Blob([read(id)], { type: "text/javascript" })));
const data = read("data");

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
const escaped = (text) => String(text ?? "").replace(/[&<>"']/g, (character) => ENTITIES[character]);
const number = (value, digits) =>
  value === null ? "–" : value.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
const percent = (share, digits = 0) => (share === null ? "–" : `${number(100 * share, digits)} %`);

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// Items: id -> [title, place of its picture or null].
const titleOf = (item) => data.items[item]?.[0] ?? "";
const pictureOf = (item) => {
  const place = data.items[item]?.[1] ?? null;
  return place === null ? null : `data:image/jpeg;base64,${data.pictures[place]}`;
};

const PHOTOGRAPHS = data.pictures.length > 0; // a catalogue without any has no column of them
const [PROPERTY, VALUE, CONFIDENCE] = [2, 3, 4]; // places in a row of the proposals

// A kind of column: what its cells hold shown as HTML, found by the search, and sorted by.
const found = (cell, type, text) => (type === "display" || type === "filter" ? escaped(text) : text);
const KINDS = {
  text: (cell, type) => found(cell, type, cell ?? ""),
  code: (cell, type) => found(cell, type, cell ?? ""),
  title: (cell, type) => found(cell, type, titleOf(cell)),
  photo: (cell, type) => {
    if (type !== "display") return "";
    const picture = pictureOf(cell);
    return picture ? `<img src="${picture}" alt="" loading="lazy">` : '<span class="none">none</span>';
  },
  count: (cell, type) => (type === "display" ? number(cell, 0) : (cell ?? -1)),
  figure: (cell, type) => (type === "display" ? number(cell, 3) : (cell ?? -Infinity)),
  percent: (cell, type) => (type === "display" ? percent(cell, 1) : (cell ?? -1)),
  reasons: (cell, type, row) =>
    type === "display" ? `<button type="button" class="why" aria-expanded="false" title="Why ${escaped(row[VALUE])}">Why</button>` : "",
};
const RIGHT = ["count", "figure", "percent"];

function column({ title, kind, at, roomy, hidden }) {
  const classes = [kind, RIGHT.includes(kind) ? "dt-right" : "dt-left", roomy ? "roomy" : ""];
  const plain = kind === "photo" || kind === "reasons";
  return {
    title: escaped(title),
    data: at,
    visible: !hidden && (kind !== "photo" || PHOTOGRAPHS),
    className: classes.join(" ").trim(),
    type: RIGHT.includes(kind) ? "num" : "string",
    render: KINDS[kind],
    orderable: !plain,
    searchable: !plain && !RIGHT.includes(kind),
  };
}

function table(DataTable, id, { columns, rows, order }) {
  return new DataTable(document.getElementById(id), {
    columns: columns.map(column),
    data: rows,
    order,
    deferRender: true,
    autoWidth: false,
    pageLength: 10,
    language: { search: "Search: ", emptyTable: "nothing", lengthMenu: "_MENU_ a page" },
  });
}

// Reasons are many and seldom looked at: they are packed, and unpacked with the first question.
let unpacked;
function details() {
  unpacked ??= (async () => {
    const bytes = Uint8Array.from(atob(read("reasons")), (character) => character.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).json();
  })();
  return unpacked;
}

function bar(name, share, fall) {
  const fill = element("div", { class: "fill" });
  fill.style.width = `${100 * (share ?? 0)}%`;
  const said = fall >= 0 ? `without it the lead falls by ${percent(fall)}` : `without it the lead grows by ${percent(-fall)}`;
  return element(
    "div", { class: "bar" }, element("span", {}, name), element("div", { class: "track" }, fill),
    element("small", {}, share === null ? said : `${percent(share)} of what it rests on; ${said}`),
  );
}

function part(title, ...children) {
  return element("section", {}, element("h4", {}, title), ...children);
}

function factsPart(triples) {
  const rows = triples.map(([property, value, fall]) =>
    element("li", {}, `${property}: ${value} `, element("small", {}, `lead −${percent(fall)}`)),
  );
  return part("Its facts that speak most for it", rows.length ? element("ul", {}, ...rows) : "None does.");
}

function alikePart(value, nearest) {
  const figures = nearest.map(([item, cosine]) => {
    const picture = pictureOf(item);
    const caption = element("figcaption", {}, `${titleOf(item) || item} `, element("small", {}, `${item}, cosine ${number(cosine, 2)}`));
    return element("figure", {}, ...(picture ? [element("img", { src: picture, alt: "" })] : []), caption);
  });
  const title = `The nearest items with “${value}”`;
  return part(title, figures.length ? element("div", { class: "alike" }, ...figures) : "No other item has it.");
}

function cypherPart(cypher) {
  const text = element("pre", { tabindex: "0", "aria-label": "Cypher" }, cypher);
  const copy = element("button", { type: "button" }, "Copy");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(cypher);
      copy.textContent = "Copied";
    } catch {  // a browser may not allow it: it is selected, to be copied by hand
      getSelection().selectAllChildren(text);
    }
  });
  const section = part("Cypher that shows this", text, copy);
  section.className = "whole";
  return section;
}

function gatesText(titleFromImage, imageFromTitle) {
  if (titleFromImage === null) return [];
  const text = `The gates took ${percent(titleFromImage)} of the title’s features as informed by the photograph, ${percent(imageFromTitle)} the other way round.`;
  return [element("p", {}, element("small", {}, text))];
}

function why(row, reason) {
  const [, item, , value] = row;
  const head = element("div", { class: "whole" }, element("strong", {}, titleOf(item) || item), ` (${item})`);
  if (!reason) return element("div", { class: "reasons" }, head, "No reasons were computed for this one.");
  const [shares, falls, gates, triples, nearest, cypher] = reason;
  const names = ["title", "photograph", "graph"];
  const bars = names.map((name, at) => bar(name, shares[at], falls[at])).filter((_, at) => PHOTOGRAPHS || names[at] !== "photograph");
  const rests = part("What it rests on", ...bars, ...(PHOTOGRAPHS ? gatesText(...gates) : []));
  const parts = [rests, factsPart(triples), alikePart(value, nearest), ...(cypher ? [cypherPart(cypher)] : [])];
  return element("div", { class: "reasons" }, head, ...parts);
}

function answerWhy(proposals) {
  document.getElementById("proposals").addEventListener("click", async (event) => {
    const button = event.target.closest("button.why");
    if (!button) return;
    const row = proposals.row(button.closest("tr"));
    if (row.child.isShown()) row.child.hide();
    else row.child(why(row.data(), (await details())[row.data()[0]])).show();
    button.setAttribute("aria-expanded", String(row.child.isShown()));
  });
}

function chooseProperty(proposals) {
  const select = document.getElementById("property");
  if (!select) return;
  proposals.search.fixed("property", (text, row) => !select.value || row[PROPERTY] === select.value);
  select.addEventListener("change", () => proposals.draw());
}

function slide(proposals, views) {
  const slider = document.getElementById("level");
  if (!slider) return;
  const only = document.getElementById("only");
  const say = (id, text) => (document.getElementById(id).textContent = text);
  const step = () => data.steps[slider.valueAsNumber];
  const show = () => {
    const { threshold, proposals: count, share, expected, measured } = step();
    say("level-threshold", number(threshold, 3).replace(/0$/, ""));
    say("level-count", `${number(count, 0)} (${percent(share)})`);
    say("level-expected", percent(expected, 1));
    measured.forEach(({ coverage, precision }, at) => {
      say(`level-coverage-${at}`, percent(coverage, 1));
      say(`level-precision-${at}`, precision === null ? "none is answered" : percent(precision, 1));
    });
    slider.setAttribute("aria-valuetext", `confidence ${threshold}: ${count} proposals, ${percent(expected, 1)} expected right`);
    for (const view of views) view.signal("step", slider.valueAsNumber).runAsync();
    if (only.checked) proposals?.draw();
  };
  proposals?.search.fixed("level", (text, row) => !only.checked || row[CONFIDENCE] >= step().threshold);
  slider.addEventListener("input", show);
  only.addEventListener("change", () => proposals?.draw());
  show();
}

await library("vega");
const views = [];
for (const [id, spec] of Object.entries(data.charts)) {
  const { view } = await window.vegaEmbed(document.getElementById(id), spec, { actions: false, renderer: "svg" });
  if (id === "chart-selective") views.push(view);
}
const { default: DataTable } = await library("datatables");
const tables = {};
for (const [id, content] of Object.entries(data.tables)) tables[id] = table(DataTable, id, content);
if (tables.proposals) {
  answerWhy(tables.proposals);
  chooseProperty(tables.proposals);
}
slide(tables.proposals, views);
document.body.dataset.ready = "true";
