// A term's definition, for mouse, keys and fingers: what stands in the link's title, shown below the word.
(() => {
  const tip = document.createElement("div");
  tip.id = "term-tip";
  tip.setAttribute("role", "tooltip");
  tip.hidden = true;
  let shown = null;

  const hide = () => {
    if (!shown) return;
    shown.title = tip.textContent;
    shown.removeAttribute("aria-describedby");
    shown = null;
    tip.hidden = true;
  };

  const show = (term) => {
    if (term === shown) return;
    hide();
    tip.textContent = term.title;
    term.removeAttribute("title"); // or the browser shows it a second time
    term.setAttribute("aria-describedby", tip.id);
    shown = term;
    tip.hidden = false;
    const word = term.getClientRects()[0];
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    tip.style.left = `${Math.max(8, Math.min(word.left, room)) + window.scrollX}px`;
    const below = word.bottom + tip.offsetHeight < window.innerHeight;
    tip.style.top = `${(below ? word.bottom : word.top - tip.offsetHeight) + window.scrollY}px`;
  };

  const term = (event) => (event.target.closest ? event.target.closest("a.term") : null);
  document.body.append(tip);
  document.addEventListener("focusin", (event) => (term(event) ? show(term(event)) : hide()));
  document.addEventListener("pointerover", (event) => {
    if (event.pointerType === "touch" || tip.contains(event.target)) return; // who reads the definition keeps it
    if (term(event)) show(term(event));
    else if (shown !== document.activeElement) hide();
  });
  document.addEventListener("keydown", (event) => event.key === "Escape" && hide());
  // A finger's first tap shows the definition, the second follows the link.
  let fresh = null;
  document.addEventListener("pointerdown", (event) => {
    fresh = event.pointerType === "touch" && term(event) && term(event) !== shown ? term(event) : null;
  });
  document.addEventListener("click", (event) => {
    if (term(event) && term(event) === fresh) {
      event.preventDefault();
      show(fresh);
    } else if (!term(event)) hide();
  });
})();
