// Comfort for the settings page. Everything works without it: each thing done
// here is also a button of a form, or can be done by hand.
"use strict";

// Copy buttons.
for (const button of document.querySelectorAll("[data-copy]")) {
  const from = document.getElementById(button.dataset.copy);
  button.hidden = false;
  button.addEventListener("click", async () => {
    from.select();
    try {
      await navigator.clipboard.writeText(from.value);
      say("Copied.");
      const text = button.textContent;
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = text; }, 2000);
    } catch {
      say("The text is selected. Press Ctrl+C or Command+C to copy it.");
    }
  });
}

function say(text) {
  const said = document.getElementById("said");
  if (said) said.textContent = text;
}

// Menus close by Escape, by a click elsewhere and when the focus leaves.
for (const menu of document.querySelectorAll("details.menu")) {
  menu.addEventListener("keydown", (e) => {
    if (e.key === "Escape" && menu.open) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
  });
  menu.addEventListener("focusout", (e) => {
    if (e.relatedTarget && !menu.contains(e.relatedTarget)) menu.open = false;
  });
  document.addEventListener("click", (e) => {
    if (!menu.contains(e.target)) menu.open = false;
  });
}

// Times are in UTC; the tooltip has the local one.
for (const time of document.querySelectorAll("time[datetime]")) {
  const at = new Date(time.dateTime);
  if (!isNaN(at)) time.title = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });
}

// A form is sent once.
for (const form of document.querySelectorAll("form[method=post]")) {
  form.addEventListener("submit", (e) => {
    if (form.dataset.sent) e.preventDefault();
    form.dataset.sent = "yes";
  });
  addEventListener("pageshow", () => { delete form.dataset.sent; });
}

// The rows of an allowlist are added and removed without a round trip.
const editor = document.querySelector("form[data-editor]");
if (editor) {
  const rows = editor.querySelector("#rows");
  const template = editor.querySelector("#row-template");
  const submitPaste = editor.querySelector("button[value=paste]");
  let dirty = "dirty" in editor.dataset;
  let serial = rows.children.length;

  const renumber = () => {
    const all = [...rows.children];
    all.forEach((row, i) => {
      for (const n of row.querySelectorAll("[data-number]")) n.textContent = i + 1;
      for (const b of row.querySelectorAll("button[name=action]")) {
        b.value = b.value.replace(/^(\w+):\d+/, `$1:${i}`);
      }
    });
    editor.querySelector(".rows-head").hidden = all.length === 0;
    editor.querySelector("#no-rows").hidden = all.length > 0;
    editor.querySelector("[data-clear]").hidden = all.length < 2;
    const count = editor.querySelector("[data-count]");
    count.textContent = `${all.length}/${count.dataset.count}`;
    count.classList.toggle("over", all.length > count.dataset.count);
  };

  const newRow = (entry) => {
    const row = template.content.firstElementChild.cloneNode(true);
    const field = row.querySelector("[name=entry]");
    field.id = `entry-${serial++}`;
    field.value = entry;
    rows.append(row);
    return row;
  };

  // Takes back the offers to add an address that a row has now.
  const settle = (address) => {
    for (const item of editor.querySelectorAll("[data-address]")) {
      const offer = item.querySelector("[data-add]");
      if (item.dataset.address !== address || !offer) continue;
      const mark = document.createElement("span");
      mark.className = "mark help";
      mark.textContent = "added, not saved yet";
      offer.replaceWith(mark);
    }
  };

  editor.addEventListener("click", (e) => {
    const button = e.target.closest("button");
    if (!button) return;
    if ("addRow" in button.dataset) {
      e.preventDefault();
      const row = newRow("");
      renumber();
      row.querySelector("[name=entry]").focus();
      say(`Row ${rows.children.length} is added.`);
    } else if ("add" in button.dataset) {
      e.preventDefault();
      const there = new Set([...rows.querySelectorAll("[name=entry]")].map((f) => f.value.trim()));
      const addresses = button.value.replace(/^addr:/, "").split(",").filter((a) => !there.has(a));
      const added = addresses.map(newRow);
      button.hidden = true;
      addresses.forEach(settle);
      renumber();
      dirty = true;
      if (added.length > 0) added[0].querySelector("[name=label]").focus();
      say(added.length === 1 ? `${addresses[0]} is added, but not saved yet.` : `${added.length} addresses are added, but not saved yet.`);
    } else if ("clear" in button.dataset) {
      e.preventDefault();
      rows.replaceChildren();
      renumber();
      dirty = true;
      editor.querySelector("[data-add-row]").focus();
      say("All rows are removed, but nothing is saved yet.");
    } else if ("remove" in button.dataset) {
      e.preventDefault();
      const row = button.closest("[data-row]");
      const at = [...rows.children].indexOf(row);
      row.remove();
      renumber();
      dirty = true;
      const next = rows.children[at] || rows.children[at - 1];
      (next ? next.querySelector("[data-remove]") : editor.querySelector("[data-add-row]")).focus();
      say(`Row ${at + 1} is removed, but not saved yet.`);
    }
  });

  // Several lines pasted into a field for one entry are meant as several rows.
  editor.addEventListener("paste", (e) => {
    if (e.target.name !== "entry") return;
    const text = e.clipboardData.getData("text").trim();
    if (!text.includes("\n")) return;
    e.preventDefault();
    editor.querySelector("#paste").value = text;
    editor.requestSubmit(submitPaste);
  });

  editor.addEventListener("input", () => { dirty = true; });
  editor.addEventListener("submit", () => { dirty = false; });
  for (const link of editor.querySelectorAll("[data-discard]")) link.addEventListener("click", () => { dirty = false; });
  addEventListener("beforeunload", (e) => { if (dirty) e.preventDefault(); });
}
