// What is wider than its place says that it scrolls, and fades where there is more of it.

function sayWhatScrolls(box) {
  const hint = element("p", { class: "more", "aria-hidden": "true" }, "Scroll sideways to see all ↔");
  const look = () => {
    const more = box.scrollWidth - box.clientWidth;
    hint.hidden = more <= 1;
    box.classList.toggle("more-left", box.scrollLeft > 1);
    box.classList.toggle("more-right", box.scrollLeft < more - 1);
  };
  if (!box.matches("nav ul")) box.before(hint);
  box.addEventListener("scroll", look, { passive: true });
  const sizes = new ResizeObserver(look);
  for (const seen of [box, ...box.children]) sizes.observe(seen);
}

for (const box of document.querySelectorAll(".scroll, .picture, nav ul")) sayWhatScrolls(box);
