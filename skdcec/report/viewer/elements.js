// Elements of the page, and numbers as text. Everything from the data is put on the page as text,
// never as markup.

function $(id) { return document.getElementById(id); }

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (key === "swatch") node.style.setProperty("--swatch", value);
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (value === true) node.setAttribute(key, "");
    else if (value !== false && value !== null) node.setAttribute(key, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function button(text, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, text);
}

function count(value) { return value.toLocaleString("en").replace(/,/g, "\u2009"); }

function images(value) { return value === 1 ? "1 image" : `${count(value)} images`; }

function sampleInWords() { return `a sample of ${count(N)} of ${images(TOTAL)}`; }

function onThisPage() { return SAMPLED ? " on this page" : ""; }

function percent(value) {
  const hundred = 100 * value;
  return `${hundred > 0 && hundred < 9.95 ? hundred.toFixed(1) : hundred.toFixed(0)} %`;
}

function decimal(value, digits = 2) { return Number.isFinite(value) ? value.toFixed(digits) : "–"; }

// Words of our own say what they mean; names of metadata columns are only themselves.
function factList(rows) {
  return element("dl", { class: "facts" },
    ...rows.flatMap(([word, value, foreign]) => [element("dt", {}, foreign ? word : term(word)), element("dd", {}, value)]));
}

// What may be wider than the page can be scrolled by keys, too.
function scroller(label, ...children) {
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": label }, ...children);
}

function percent100(value) { return `${Math.max(0, Math.min(100, 100 * value)).toFixed(1)}%`; }
