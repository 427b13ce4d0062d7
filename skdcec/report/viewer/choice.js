// The page that compares numbers of clusters draws itself without scripts, but for this.

for (const code of document.querySelectorAll(".command code")) code.after(copyButton(code));
