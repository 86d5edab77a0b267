"use strict";

/* Sorting, filters and columns of the tables that the page already holds. */
const Tables = (() => {
  const ROWS = 25;
  const form = document.getElementById("filters");
  const boards = [...document.querySelectorAll("table.leaderboard")].map(leaderboard);

  /* Let a table be sorted, by page if it is long. */
  function sortable(table, options = {}) {
    if (DataTable.isDataTable(table)) return new DataTable.Api(table);
    const isLong = table.tBodies.length > 0 && table.tBodies[0].rows.length > ROWS;
    return new DataTable(table, {
      autoWidth: false,
      columnDefs: [
        { targets: ".name, .rank, .left", orderSequence: ["asc", "desc", ""] },
        { targets: "_all", orderSequence: ["desc", "asc", ""] },
      ],
      language: { emptyTable: "Nothing to show.", zeroRecords: "No row passes the filters." },
      layout: {
        topStart: null,
        topEnd: null,
        bottomStart: isLong ? "info" : null,
        bottomEnd: isLong ? "paging" : null,
      },
      order: [],
      pageLength: ROWS,
      paging: isLong,
      ...options,
    });
  }

  function leaderboard(table) {
    const columns = [...table.tHead.rows[0].cells].map((cell) => ({ ...cell.dataset }));
    return { table, columns, api: sortable(table) };
  }

  function chosen() {
    const values = new FormData(form);
    const words = values.get("defense").toLowerCase().split(/\s+/).filter(Boolean);
    return {
      words,
      data: values.get("data"),
      eps: values.get("eps"),
      attack: values.get("attack"),
      threat: values.get("threat"),
      columns: new Set(values.getAll("column")),
    };
  }

  function isColumnShown({ column, attack, threat }, filter) {
    if (column === "name") return true;
    if (!filter.columns.has(column)) return false;
    if (column !== "attack") return true;
    return (!filter.attack || filter.attack === attack) && (!filter.threat || filter.threat === threat);
  }

  function apply() {
    const filter = chosen();
    document.body.classList.toggle("no-intervals", !filter.columns.has("interval"));
    for (const section of document.querySelectorAll("section[data-set]")) {
      section.hidden = Boolean(filter.data) && section.dataset.set !== filter.data;
    }
    for (const standing of document.querySelectorAll(".standing")) {
      standing.hidden = Boolean(filter.eps) && standing.dataset.eps !== filter.eps;
    }
    let shown = 0;
    let all = 0;
    for (const { api, columns, table } of boards) {
      columns.forEach((column, i) => api.column(i).visible(isColumnShown(column, filter), false));
      api.search.fixed("defense", (text, row, i) => {
        const label = api.row(i).node().dataset.defense.toLowerCase();
        return filter.words.every((word) => label.includes(word));
      });
      api.draw();
      all += api.rows().count();
      const isShown = !table.closest("section").hidden && !table.closest(".standing").hidden;
      if (isShown) shown += api.rows({ search: "applied" }).count();
    }
    document.getElementById("filter-status").textContent = `${shown} of ${all} rows shown.`;
    document.dispatchEvent(new CustomEvent("filtered", { detail: filter }));
  }

  function start() {
    for (const table of document.querySelectorAll("section.overview table.sortable")) {
      const details = table.closest("details");
      if (details) details.addEventListener("toggle", () => sortable(table));
      else Report.whenNear(table, () => sortable(table));
    }
    form.addEventListener("submit", (event) => event.preventDefault());
    form.addEventListener("input", apply);
    form.addEventListener("reset", () => setTimeout(apply));
    form.reset();
    addEventListener("beforeprint", () => setLengths(-1));
    addEventListener("afterprint", () => setLengths(ROWS));
  }

  /* Paper has no page buttons, so a table is printed whole. */
  function setLengths(length) {
    for (const table of DataTable.tables({ visible: false })) {
      const api = new DataTable.Api(table);
      if (table.id !== "image-table" && api.page.len() !== length) api.page.len(length).draw(false);
    }
  }

  start();
  return { sortable };
})();
