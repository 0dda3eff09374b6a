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
  };

  editor.addEventListener("click", (e) => {
    const button = e.target.closest("button");
    if (!button) return;
    if ("addRow" in button.dataset) {
      e.preventDefault();
      const row = template.content.firstElementChild.cloneNode(true);
      row.querySelector("[name=entry]").id = `entry-${serial++}`;
      rows.append(row);
      renumber();
      row.querySelector("[name=entry]").focus();
      say(`Row ${rows.children.length} is added.`);
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
