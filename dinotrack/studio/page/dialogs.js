// Questions and sheets that lie over the page.

const found = (id) => document.getElementById(id);

/** Asks whether to go on; true where the answer is yes. */
export function askFirst(question, yes) {
  const dialog = found("sure");
  found("sure-text").textContent = question;
  found("sure-yes").textContent = yes;
  dialog.returnValue = "no";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Shows the sheet of keys: groups of rows [keys, what they do]. */
export function showSheet(groups) {
  const list = found("sheet-keys");
  list.replaceChildren(...groups.map(([title, rows]) => group(title, rows)));
  found("sheet").showModal();
}

function group(title, rows) {
  const section = document.createElement("section");
  const head = document.createElement("h3");
  head.textContent = title;
  const list = document.createElement("dl");
  for (const [keys, what] of rows) {
    const [term, told] = [document.createElement("dt"), document.createElement("dd")];
    keys.split(" / ").forEach((key, place) => {
      if (place) term.append(" ");
      const cap = document.createElement("kbd");
      cap.textContent = key;
      term.append(cap);
    });
    told.textContent = what;
    list.append(term, told);
  }
  section.append(head, list);
  return section;
}
