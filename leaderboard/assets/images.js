"use strict";

/* The images that one attack damaged most, with their pictures where they were saved. */
const Images = (() => {
  const ROWS = 10;
  const { data, element } = Report;
  const form = document.getElementById("image-choice");
  const remarks = document.getElementById("image-remarks");
  let table = null;

  const cells = data.groups.flatMap((group, g) => group.images.cells.map((cell) => ({ ...cell, group: g })));

  function option(value, text) {
    return element("option", { value: String(value) }, text);
  }

  /* Fill a choice with what is there, and keep the old value if it still is. */
  function fill(name, pairs) {
    const select = form.elements[name];
    const old = select.value;
    const seen = new Map(pairs.map(([value, text]) => [String(value), text]));
    select.replaceChildren(...[...seen].map(([value, text]) => option(value, text)));
    if (seen.has(old)) select.value = old;
  }

  /* Narrow the choices one after another: data set, defense, attack, eps. */
  function narrow() {
    fill("data", cells.map(({ group }) => [group, data.groups[group].title]));
    let left = cells.filter(({ group }) => String(group) === form.elements.data.value);
    const group = () => data.groups[left[0].group];
    fill("defense", left.map(({ entry }) => [entry, group().entries[entry].label]));
    left = left.filter(({ entry }) => String(entry) === form.elements.defense.value);
    fill("attack", left.map(({ attack }) => [attack, group().attacks[attack]]));
    left = left.filter(({ attack }) => String(attack) === form.elements.attack.value);
    fill("eps", left.map(({ eps }) => [eps, String(eps)]));
    return left.find(({ eps }) => String(eps) === form.elements.eps.value);
  }

  function rowsOf(cell) {
    const { ids, mos } = data.groups[cell.group].images;
    const rows = [];
    for (let i = 0; i < cell.rows.length; i += 3) {
      const [image, clean, attacked] = cell.rows.slice(i, i + 3);
      const label = mos[image] / data.digits;
      const moved = (clean - attacked) / data.digits;
      rows.push({
        name: ids[image],
        mos: label,
        clean: clean / data.digits,
        attacked: attacked / data.digits,
        damage: label > 0.5 ? moved : -moved,
        pictures: cell.pictures?.[image]?.map((place) => data.pictures[place]) ?? null,
        factor: cell.factor,
      });
    }
    return rows;
  }

  function binOf(mos) {
    return Math.min(data.mos_bins - 1, Math.max(0, Math.floor(mos * data.mos_bins)));
  }

  const captions = (row) => ["clean", "attacked", `difference \u00d7 ${row.factor}`];

  function picturesIn(cell, pictures, row) {
    if (!pictures) return;
    const names = captions(row);
    const images = pictures.map((uri, i) => element("img", { src: uri, alt: names[i], title: names[i] }));
    const button = element("button", { type: "button", class: "pictures", "aria-label": `Enlarge ${row.name}` }, ...images);
    button.addEventListener("click", () => enlarge(row));
    cell.replaceChildren(button);
  }

  function enlarge(row) {
    const names = captions(row);
    const figures = row.pictures.map((uri, i) =>
      element("figure", {}, element("img", { src: uri, alt: names[i] }), element("figcaption", {}, names[i])));
    const closing = element("button", { type: "button" }, "Close");
    const dialog = element("dialog", { "aria-label": row.name }, element("p", {}, element("b", {}, row.name)),
      element("p", {}, `Label ${Report.number(row.mos)}, clean score ${Report.number(row.clean)}, ` +
        `attacked score ${Report.number(row.attacked)}.`),
      element("div", { class: "charts" }, ...figures), closing);
    closing.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  function makeTable() {
    const number = (value, type) => (type === "display" ? Report.number(value) : value);
    const column = (key, title) => ({ data: key, title, render: number, orderSequence: ["desc", "asc"] });
    return new DataTable("#image-table", {
      autoWidth: false,
      columns: [
        { data: "pictures", title: `Clean, attacked, difference`, className: "left pictures", orderable: false,
          render: () => "", createdCell: picturesIn },
        { data: "name", title: "Image", className: "name", render: DataTable.render.text() },
        column("mos", "Label (MOS)"), column("clean", "Clean score"),
        column("attacked", "Attacked score"), column("damage", "Damage"),
      ],
      data: [],
      language: { emptyTable: "No image is in this part of the label scale." },
      layout: { topStart: null, topEnd: null, bottomStart: "info", bottomEnd: "paging" },
      order: [[5, "desc"]],
      pageLength: ROWS,
    });
  }

  function show() {
    const cell = narrow();
    table ??= makeTable();
    const bin = form.elements.bin.value;
    const all = cell ? rowsOf(cell) : [];
    const rows = all.filter((row) => bin === "" || binOf(row.mos) === Number(bin));
    table.column(0).visible(rows.some((row) => row.pictures));
    table.clear().rows.add(rows).draw();
    const texts = cell ? saying(cell, all.length) : ["No attacked cell has succeeded."];
    remarks.replaceChildren(...texts.map((text) => element("div", {}, text)));
  }

  function saying(cell, shown) {
    const all = data.groups[cell.group].images.ids.length;
    const texts = [`${shown} of ${all} images of cell ${cell.key}.`];
    if (!cell.pictures) return [...texts, "No pictures were saved."];
    texts.push(`The difference is multiplied by ${cell.factor}; grey did not move.`);
    if (cell.left_out) texts.push(`Saved pictures that are not in this page: ${cell.left_out}.`);
    return [...texts, ...cell.remarks];
  }

  /* Choose the cell of a key; returns whether there is one. */
  function choose(key) {
    const cell = cells.find((one) => one.key === key);
    if (!cell) return false;
    for (const [name, value] of [["data", cell.group], ["defense", cell.entry], ["attack", cell.attack], ["eps", cell.eps]]) {
      narrow();
      form.elements[name].value = String(value);
    }
    show();
    return true;
  }

  function start() {
    const width = 1 / data.mos_bins;
    const bins = Array.from({ length: data.mos_bins }, (_, i) =>
      option(i, `${(i * width).toFixed(1)} to ${((i + 1) * width).toFixed(1)}`));
    form.elements.bin.replaceChildren(option("", "all"), ...bins);
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", show);
    show();
  }

  start();
  return { choose };
})();
