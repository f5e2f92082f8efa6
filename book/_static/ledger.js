// Filters and sorts the table of claims. Without this script the table is whole, and no control is shown.
(() => {
  const table = document.getElementById("ledger");
  if (!table) return;
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const words = {
    outcome: (row) => row.querySelector("td .outcome").textContent.replace(/^\S+\s+/, ""),
    work: (row) => row.querySelector(".whose").textContent.split(" · ")[0],
    whose: (row) => row.querySelector(".whose").textContent.split(" · ")[1],
  };
  const form = document.createElement("form");
  form.className = "filters";
  form.setAttribute("aria-label", "which claims the table shows");

  const choice = (name, label, options) => {
    const field = document.createElement("label");
    const select = document.createElement("select");
    select.name = name;
    for (const [value, text] of options) select.add(new Option(text, value));
    field.append(label, select);
    form.append(field);
    return select;
  };
  const found = (name) => [...new Map(rows.map((row) => [row.dataset[name], words[name](row)]))];
  const filters = {
    work: choice("work", "work", [["", "all works"], ...found("work")]),
    outcome: choice("outcome", "outcome", [["", "all outcomes"], ...found("outcome")]),
    whose: choice("whose", "whose claim", [["", "anyone's"], ...found("whose")]),
  };
  const kinds = found("outcome").map(([kind]) => kind);
  const size = (row) => (row.dataset.size === "" ? -1 : Math.abs(Number(row.dataset.size)));
  const orders = {
    order: (a, b) => a.dataset.order - b.dataset.order,
    outcome: (a, b) => kinds.indexOf(a.dataset.outcome) - kinds.indexOf(b.dataset.outcome) || orders.order(a, b),
    size: (a, b) => size(b) - size(a) || orders.order(a, b),
  };
  const sort = choice("sort", "sorted by", [["order", "work and study"], ["outcome", "outcome"], ["size", "size of the effect"]]);
  const reset = document.createElement("button");
  reset.type = "reset";
  reset.textContent = "show all";
  const count = document.createElement("output");
  count.setAttribute("aria-live", "polite");
  form.append(reset, count);

  const update = () => {
    for (const row of rows) {
      row.hidden = Object.entries(filters).some(([name, { value }]) => value && row.dataset[name] !== value);
    }
    body.append(...[...rows].sort(orders[sort.value]));
    const shown = rows.filter((row) => !row.hidden).length;
    count.value = `${shown} of ${rows.length} claims`;
  };
  form.addEventListener("input", update);
  form.addEventListener("reset", () => setTimeout(update));
  form.addEventListener("submit", (event) => event.preventDefault());

  // a number of the tally shows its claims
  for (const cell of document.querySelectorAll("#tally td[data-outcome]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = cell.textContent;
    button.setAttribute("aria-label", `show ${cell.textContent} claims`);
    button.addEventListener("click", () => {
      form.reset();
      filters.work.value = cell.dataset.work;
      filters.outcome.value = cell.dataset.outcome;
      update();
      form.scrollIntoView();
    });
    cell.replaceChildren(button);
  }

  // a link to a claim that a filter hides shows it
  const reveal = () => {
    const row = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (row?.closest("#ledger") && row.closest("tr").hidden) {
      form.reset();
      update();
      row.scrollIntoView();
    }
  };
  addEventListener("hashchange", reveal);
  table.before(form);
  update();
})();
