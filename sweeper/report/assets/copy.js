// Buttons that copy the text beside them. What could not be copied is left selected, for the keyboard.

async function toClipboard(block) {
  try {
    await navigator.clipboard.writeText(block.textContent);
    return true;
  } catch {
    return copiedBySelection(block); // not allowed, or an old browser
  }
}

function copiedBySelection(block) {
  const fold = block.closest(".copyable details"); // what is folded away cannot be selected
  if (fold) fold.open = true;
  const selection = getSelection();
  selection.selectAllChildren(block);
  const exactly = (event) => {
    event.clipboardData.setData("text/plain", block.textContent);
    event.preventDefault();
  };
  document.addEventListener("copy", exactly);
  const done = document.execCommand("copy");
  document.removeEventListener("copy", exactly);
  if (done) selection.removeAllRanges();
  return done;
}

for (const button of document.querySelectorAll("button.copy")) {
  const block = button.closest(".copyable").querySelector("pre code");
  const said = element("span", { class: "unseen", role: "status" }); // read aloud when it changes
  let fading;
  button.hidden = false;
  button.after(said);
  button.addEventListener("click", async () => {
    const done = await toClipboard(block);
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    said.textContent = done ? "Copied" : "Not allowed to copy: the text is selected, press Ctrl+C";
    clearTimeout(fading);
    fading = setTimeout(() => {
      button.textContent = "Copy";
      said.textContent = "";
    }, done ? 2000 : 10000);
  });
}
