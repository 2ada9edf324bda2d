// Buttons that copy the text beside them.

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedBySelection(text); // not allowed, or an old browser
  }
}

function copiedBySelection(text) {
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const done = document.execCommand("copy");
  field.remove();
  return done;
}

for (const button of document.querySelectorAll("button.copy")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const block = button.closest(".copyable").querySelector("pre code");
    const done = await toClipboard(block.textContent);
    button.textContent = done ? "Copied" : "Press Ctrl+C";
    button.focus();
    setTimeout(() => (button.textContent = "Copy"), 2000);
  });
}
