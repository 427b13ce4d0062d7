// Lints the report page's scripts: npx --yes eslint@9 skdcec/report/viewer
//
// The scripts are joined when a page is written, so each one sees what the others declare at the
// top: these names are globals here, and count as used where another script has them.

const fs = require("node:fs");
const path = require("node:path");

const folder = path.join(__dirname, "skdcec", "report", "viewer");
const files = fs.readdirSync(folder).filter((name) => name.endsWith(".js"));
const texts = new Map(files.map((name) => [name, fs.readFileSync(path.join(folder, name), "utf8")]));

const browser = ["AbortController", "Blob", "Image", "Intl", "ResizeObserver", "URL", "URLSearchParams", "atob",
  "clearTimeout", "console", "document", "getComputedStyle", "getSelection", "history", "localStorage", "location", "matchMedia",
  "navigator", "performance", "requestAnimationFrame", "setTimeout", "window"];

function declared(text) {
  const names = [...text.matchAll(/^(?:async )?function ([\w$]+)|^(?:const|let) ([\w$]+)/gm)].map((found) => found[1] ?? found[2]);
  for (const [, inside] of text.matchAll(/^(?:const|let) \{([^}]*)\}/gm)) {
    names.push(...inside.split(",").map((part) => part.split(":").pop().trim()));
  }
  return names;
}

function globals(name) {
  const others = files.filter((other) => other !== name).flatMap((other) => declared(texts.get(other)));
  return Object.fromEntries([...browser.map((one) => [one, "readonly"]), ...others.map((one) => [one, "writable"])]);
}

function usedElsewhere(name) {
  const words = new Set(files.filter((other) => other !== name).flatMap((other) => texts.get(other).match(/[\w$]+/g)));
  const names = declared(texts.get(name)).filter((one) => words.has(one));
  return `^(?:${names.map((one) => one.replace(/\$/g, "\\$")).join("|")})$`;
}

const rules = {
  "array-callback-return": "error",
  "consistent-return": "error",
  "dot-notation": "error",
  eqeqeq: "error",
  "max-len": ["error", { code: 140, ignoreStrings: true, ignoreTemplateLiterals: true }],
  "max-lines": ["error", 400],
  "no-const-assign": "error",
  "no-constant-condition": "error",
  "no-dupe-else-if": "error",
  "no-dupe-keys": "error",
  "no-eval": "error",
  "no-fallthrough": "error",
  "no-func-assign": "error",
  "no-implicit-coercion": "error",
  "no-implied-eval": "error",
  "no-loss-of-precision": "error",
  "no-redeclare": "error",
  "no-self-compare": "error",
  "no-shadow": "error",
  "no-undef": "error",
  "no-unreachable": "error",
  "no-unsafe-finally": "error",
  "no-use-before-define": ["error", { functions: false, variables: false }],
  "no-useless-return": "error",
  "no-var": "error",
  "object-shorthand": "error",
  "prefer-const": "error",
  "use-isnan": "error",
  "valid-typeof": "error",
  // The page holds names that strangers chose.
  "no-restricted-properties": ["error", ...["innerHTML", "outerHTML", "insertAdjacentHTML", "write"].map((property) => ({
    property, message: "Data become text, never markup.",
  }))],
};

module.exports = files.map((name) => ({
  files: [`skdcec/report/viewer/${name}`],
  languageOptions: { ecmaVersion: 2022, sourceType: "script", globals: globals(name) },
  linterOptions: { reportUnusedDisableDirectives: "error" },
  rules: {
    ...rules,
    "no-unused-vars": ["error", { vars: "all", varsIgnorePattern: usedElsewhere(name), args: "after-used", caughtErrors: "all" }],
  },
}));
