// What all pages do: copying, forms that send themselves, and the search for layers.
"use strict";

(() => {
  const copy = async (text) => {
    // Browsers give pages the clipboard only where they came over https or from this machine.
    if (navigator.clipboard) return navigator.clipboard.writeText(text);
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) throw new Error("the browser does not let pages copy");
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    const label = button.textContent;
    try {
      await copy(source.href ?? source.textContent);
      button.textContent = "Copied";
      button.classList.add("done");
    } catch {
      getSelection().selectAllChildren(source);
      button.textContent = "Press Ctrl+C";
    }
    setTimeout(() => {
      button.textContent = label;
      button.classList.remove("done");
    }, 1500);
  });

  for (const field of document.querySelectorAll("form.choices select, form.choices input")) {
    field.addEventListener("change", () => field.form.requestSubmit());
  }

  const filter = document.getElementById("filter");
  if (!filter) return;
  const rows = [...document.querySelectorAll("tbody tr")];
  filter.closest(".filter").hidden = rows.length < 8;
  const depth = (row) => Number(/depth-(\d)/.exec(row.className)?.[1] ?? 0);
  filter.addEventListener("input", () => {
    const words = filter.value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const found = new Set();
    rows.forEach((row, index) => {
      const text = row.textContent.toLocaleLowerCase();
      if (!words.every((word) => text.includes(word))) return;
      found.add(row);
      // With the headings above it.
      let wanted = depth(row);
      for (let above = index - 1; wanted > 0 && above >= 0; above--) {
        if (depth(rows[above]) < wanted) {
          found.add(rows[above]);
          wanted = depth(rows[above]);
        }
      }
    });
    for (const row of rows) row.hidden = !found.has(row);
    document.getElementById("found").textContent = words.length ? `${found.size} of ${rows.length} rows` : "";
  });
})();
