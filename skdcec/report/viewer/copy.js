// Commands to be typed in a terminal, with a button that copies them.

// From disk, or in a frame, a browser may have no clipboard, or refuse it; the older way may still be open.
function copySelected() {
  try {
    return document.execCommand("copy");
  } catch {
    return false;
  }
}

async function copyText(code) {
  try {
    await navigator.clipboard.writeText(code.textContent);
    return true;
  } catch {
    // Marked, it can be copied by hand where nothing else works.
    getSelection().selectAllChildren(code);
    return copySelected();
  }
}

function copyButton(code) {
  const keys = /Mac|iPhone|iPad/.test(navigator.userAgent) ? "⌘C" : "Ctrl+C";
  let timer = 0;
  const copy = button("Copy", async () => {
    copy.textContent = (await copyText(code)) ? "Copied" : `Marked: press ${keys}`;
    clearTimeout(timer);
    timer = setTimeout(() => { copy.textContent = "Copy"; }, 4000);
  }, { class: "copy", "aria-live": "polite", title: "Copy what to type in the terminal" });
  return copy;
}

function commandLine(text) {
  const code = element("code", {}, text);
  return element("span", { class: "command" }, code, copyButton(code));
}
