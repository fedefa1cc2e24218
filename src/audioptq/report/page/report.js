"use strict";
(() => {
  const keyOf = (row, column) => {
    const text = row.cells[column].dataset.sort ?? "";
    if (text === "") return null;
    const number = Number(text);
    return Number.isNaN(number) ? text : number;
  };
  const compare = (a, b) => {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, { numeric: true });
  };
  // Rows without a value stay below, whichever way the others are sorted.
  const sortBy = (header) => {
    const table = header.closest("table");
    const first = header.dataset.first ?? "ascending";
    const other = first === "ascending" ? "descending" : "ascending";
    const order = header.getAttribute("aria-sort") === first ? other : first;
    for (const cell of table.querySelectorAll("th[aria-sort]")) cell.setAttribute("aria-sort", "none");
    header.setAttribute("aria-sort", order);
    const column = header.cellIndex;
    const sign = order === "ascending" ? 1 : -1;
    const rows = [...table.tBodies[0].rows].map((row) => ({ row, key: keyOf(row, column) }));
    rows.sort((a, b) => {
      if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
      return sign * compare(a.key, b.key);
    });
    table.tBodies[0].append(...rows.map((entry) => entry.row));
  };
  for (const button of document.querySelectorAll("th[aria-sort] button")) {
    button.addEventListener("click", () => sortBy(button.closest("th")));
  }

  // One clip sounds at a time; the next clip of the same prompt goes on from the same moment, so that they can be compared.
  let current = null;
  document.addEventListener("play", (event) => {
    const player = event.target;
    const previous = current;
    current = player;
    if (previous && previous !== player) {
      const goesOn = !previous.paused && player.closest(".example") === previous.closest(".example");
      if (goesOn && !(previous.currentTime >= player.duration)) player.currentTime = previous.currentTime;
      previous.pause();
    }
    player.closest("li").classList.add("playing");
  }, true);
  window.addEventListener("beforeprint", () => {
    for (const box of document.querySelectorAll("details")) box.open = true;
  });
  for (const kind of ["pause", "ended"]) {
    document.addEventListener(kind, (event) => event.target.closest("li").classList.remove("playing"), true);
  }
})();
