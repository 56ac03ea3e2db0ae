// What the theme does not do for this book: pictures that can be enlarged, a short way for the
// Tab key, and light colours on paper.
(() => {
  const pictures = new WeakMap(); // each picture's button
  const sizes = new ResizeObserver((entries) => entries.forEach(({ target }) => offer(target)));

  /** A picture that is shown smaller than it is has a button; a click on the picture does the same. */
  function offer(picture) {
    const smaller = picture.clientWidth > 0 && picture.naturalWidth > 1.15 * picture.clientWidth;
    if (!pictures.has(picture)) {
      if (!smaller) return;
      const frame = document.createElement("span"), button = document.createElement("button");
      frame.className = "enlarge";
      Object.assign(button, { type: "button", textContent: "⤢", title: "Enlarge the picture" });
      button.setAttribute("aria-label", "Enlarge the picture");
      picture.replaceWith(frame);
      frame.append(picture, button);
      button.addEventListener("click", () => enlarge(picture));
      picture.addEventListener("click", () => button.hidden || enlarge(picture));
      pictures.set(picture, button);
    }
    pictures.get(picture).hidden = !smaller;
  }

  function enlarge(picture) {
    const dialog = document.createElement("dialog"), view = document.createElement("div");
    const large = new Image(), close = document.createElement("button");
    dialog.className = "enlarged";
    dialog.setAttribute("aria-label", "Enlarged picture");
    Object.assign(large, { src: picture.currentSrc || picture.src, alt: picture.alt });
    large.style.width = `${picture.naturalWidth}px`;
    Object.assign(close, { type: "button", textContent: "✕", title: "Close" });
    close.setAttribute("aria-label", "Close");
    Object.assign(view, { tabIndex: 0 }); // so that the arrow keys scroll it
    view.setAttribute("role", "group");
    view.setAttribute("aria-label", "The picture; scroll to see all of it");
    view.append(large);
    dialog.append(close, view);
    document.body.append(dialog);
    close.addEventListener("click", () => dialog.close());
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // beside the picture
    dialog.addEventListener("close", () => dialog.remove());
    dialog.showModal(); // the browser's own: Escape closes it, and the focus goes back to where it was
  }

  /** A page printed in the dark theme would be pale letters on white paper. */
  function print() {
    const page = document.documentElement;
    let theme;
    addEventListener("beforeprint", () => {
      theme = page.dataset.theme;
      page.dataset.theme = "light";
    });
    addEventListener("afterprint", () => theme && (page.dataset.theme = theme));
  }

  /** Beside "Skip to main content", for readers on the keyboard: a chapter's exercises are a long way down. */
  function leadToExercises() {
    const skip = document.querySelector("#pst-skip-link"), exercises = document.querySelector("section#exercises");
    if (!skip || !exercises) return;
    const link = document.createElement("a");
    Object.assign(link, { href: "#exercises", textContent: "Skip to the exercises" });
    skip.append(" ", link);
  }

  addEventListener("DOMContentLoaded", () => {
    leadToExercises();
    for (const picture of document.querySelectorAll(".bd-article img"))
      if (!picture.closest("a, .organseg-scroller, .organseg-rendering, .sd-card")) sizes.observe(picture);
  });
  print();
})();
