// Returns what is wrong with the page, as a list of sentences: an array, which
// is empty for a good page. It looks for what a person without a mouse, without
// sight or with a small screen would stumble over.
(() => {
  const faults = [];
  const where = (el) => {
    const id = el.id ? "#" + el.id : "";
    const name = el.getAttribute("name") ? `[name=${el.getAttribute("name")}]` : "";
    const cls = typeof el.className === "string" && el.className ? "." + el.className.trim().split(/\s+/).join(".") : "";
    return `<${el.tagName.toLowerCase()}${id}${name}${cls}> "${(el.textContent || "").trim().slice(0, 40)}"`;
  };
  const fault = (el, text) => faults.push(`${where(el)}: ${text}`);
  const all = (css) => [...document.querySelectorAll(css)];
  const shown = (el) => el.checkVisibility({ visibilityProperty: true });
  const texts = (ids) => (ids || "").split(/\s+/).filter(Boolean).map((id) => document.getElementById(id)?.textContent.trim() || "").join(" ").trim();

  // The document
  if (!document.documentElement.lang) faults.push("the document has no language");
  if (!document.title.trim()) faults.push("the document has no title");
  const h1 = all("h1").filter(shown);
  if (h1.length !== 1) faults.push(`there are ${h1.length} h1`);
  if (all("main").length !== 1) faults.push("there is not one main");
  let level = 0;
  for (const h of all("h1, h2, h3, h4, h5, h6").filter(shown)) {
    const n = Number(h.tagName[1]);
    if (n > level + 1 && level > 0) fault(h, `follows a heading of level ${level}`);
    level = n;
  }
  const navs = all("nav").map((n) => n.getAttribute("aria-label"));
  if (navs.includes(null) || new Set(navs).size !== navs.length) faults.push("a nav has no label of its own");
  const skip = document.querySelector("a[href='#main']");
  if (!skip) faults.push("there is no skip link");

  // Identifiers and what refers to them
  const ids = all("[id]").map((el) => el.id);
  for (const id of new Set(ids.filter((id, i) => ids.indexOf(id) !== i))) faults.push(`the id ${id} is there more than once`);
  for (const attr of ["for", "aria-describedby", "aria-labelledby", "aria-controls", "list"]) {
    for (const el of all(`[${attr}]`)) {
      for (const id of el.getAttribute(attr).split(/\s+/)) {
        if (!document.getElementById(id)) fault(el, `${attr} names ${id}, which is not there`);
      }
    }
  }

  // Names
  const nameOf = (el) => el.getAttribute("aria-label") || texts(el.getAttribute("aria-labelledby")) ||
    [...(el.labels || [])].map((l) => l.textContent.trim()).join(" ");
  for (const el of all("input, select, textarea")) {
    if (el.type === "hidden" || el.hidden) continue;
    if (!nameOf(el)) fault(el, "has no label");
  }
  for (const el of all("button, a[href], summary")) {
    const images = [...el.querySelectorAll("img")].map((i) => i.alt).join(" ");
    if (!(el.getAttribute("aria-label") || el.textContent.trim() || images.trim())) fault(el, "has no name");
  }
  for (const el of all("svg")) {
    if (el.getAttribute("aria-hidden") === "true") continue;
    if (!["img", "group"].includes(el.getAttribute("role")) || !texts(el.getAttribute("aria-labelledby"))) fault(el, "is neither hidden nor named");
  }
  for (const el of all("img")) if (el.getAttribute("alt") === null) fault(el, "has no alt");
  for (const el of all("fieldset")) if (!el.querySelector("legend")) fault(el, "has no legend");
  for (const el of all("table")) {
    if (!el.querySelector("caption") && !el.closest("[aria-label]")) fault(el, "has no caption");
  }
  for (const el of all("th")) if (!el.scope) fault(el, "has no scope");
  for (const el of all("[aria-invalid=true]")) if (!texts(el.getAttribute("aria-describedby"))) fault(el, "is invalid and does not say why");
  for (const el of all("[tabindex]")) if (Number(el.tabIndex) > 0) fault(el, "changes the order of the tab key");
  for (const el of all("*")) {
    for (const a of el.attributes) {
      if (a.name === "style" || a.name.startsWith("on")) fault(el, `has the attribute ${a.name}, which the content policy forbids`);
    }
  }

  // Width
  const doc = document.scrollingElement;
  if (doc.scrollWidth > innerWidth) {
    faults.push(`the page is ${doc.scrollWidth} wide and the window ${innerWidth}`);
    for (const el of all("body *")) {
      const r = el.getBoundingClientRect();
      if (r.right > innerWidth + 1 && shown(el)) fault(el, `reaches to ${Math.round(r.right)}`);
    }
  }

  // Size of what is pressed
  for (const el of all("button, summary, select, input:not([type=hidden]), a.button, a.second, .menu a, .tabs a").filter(shown)) {
    if (el.hidden || el.tabIndex < 0) continue;
    const r = (el.type === "checkbox" ? el.closest("label") : el).getBoundingClientRect();
    if (r.width > 0 && (r.height < 24 || r.width < 24)) fault(el, `is ${Math.round(r.width)} x ${Math.round(r.height)}, too small to press`);
  }

  // Contrast
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const rgba = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return { r, g, b, a: a / 255 };
  };
  const over = (top, under) => ({
    r: top.r * top.a + under.r * (1 - top.a), g: top.g * top.a + under.g * (1 - top.a), b: top.b * top.a + under.b * (1 - top.a), a: 1,
  });
  const ground = (el) => {
    const layers = [];
    for (let e = el; e; e = e.parentElement) {
      const c = rgba(getComputedStyle(e).backgroundColor);
      if (c.a > 0) layers.push(c);
      if (c.a === 1) break;
    }
    let g = { r: 255, g: 255, b: 255, a: 1 };
    for (const l of layers.reverse()) g = over(l, g);
    return g;
  };
  const light = ({ r, g, b }) => {
    const f = (v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    return 0.2126 * f(r) + 0.7152 * f(g) + 0.0722 * f(b);
  };
  const ratio = (a, b) => {
    const [hi, lo] = [light(a), light(b)].sort((x, y) => y - x);
    return (hi + 0.05) / (lo + 0.05);
  };
  const contrast = (el, color, least, what) => {
    const g = ground(el);
    const r = ratio(over(rgba(color), g), g);
    if (r < least) fault(el, `${what} has a contrast of ${r.toFixed(2)}`);
  };
  let measured = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const seen = new Set();
  while (walker.nextNode()) {
    const el = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || seen.has(el) || !shown(el) || el.closest("svg, template, script, option, datalist")) continue;
    seen.add(el);
    for (let e = el; e; e = e.parentElement) {
      if (getComputedStyle(e).opacity !== "1" && !el.closest(".default-action")) fault(e, "is half transparent, which this does not measure");
    }
    contrast(el, getComputedStyle(el).color, 4.5, "text");
    measured++;
  }
  for (const el of all("input:not([type=hidden], [type=checkbox]), select, textarea").filter((el) => !el.hidden && shown(el))) {
    contrast(el, getComputedStyle(el).color, 4.5, "its value");
    contrast(el.parentElement, getComputedStyle(el).borderTopColor, 3, "its border");
    if (el.placeholder) contrast(el, getComputedStyle(el, "::placeholder").color, 4.5, "its placeholder");
  }
  for (const el of all("svg.icon").filter(shown)) contrast(el.parentElement, getComputedStyle(el).color, 3, "its icon");
  for (const el of all("svg rect")) contrast(el.closest(".card"), getComputedStyle(el).fill, 3, "its bar");
  if (measured < 3) faults.push("hardly any text was measured");
  return faults;
})()
