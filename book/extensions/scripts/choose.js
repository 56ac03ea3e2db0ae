// The page of misconceptions by chapter and by words; without scripts all of it is shown.
(() => {
  const chapters = [...document.querySelectorAll("article.bd-article > section > section")];
  const form = document.createElement("form");
  form.className = "filter";
  form.innerHTML = `<label>Chapter <select><option value="">all</option></select></label>
    <label>Words <input type="search" placeholder="e.g. softmax"></label><output aria-live="polite"></output>`;
  const [choice, words, said] = ["select", "input", "output"].map((name) => form.querySelector(name));
  const heading = (part) => part.querySelector("h2, h3").firstChild.textContent;
  chapters.forEach((part, number) => choice.add(new Option(heading(part), String(number))));

  const choose = () => {
    const wanted = words.value.trim().toLowerCase().split(/\s+/);
    let count = 0;
    chapters.forEach((part, number) => {
      const here = choice.value === "" || choice.value === String(number);
      let found = 0;
      part.querySelectorAll(":scope > section").forEach((exercise) => {
        const text = exercise.textContent.toLowerCase();
        exercise.hidden = !(here && wanted.every((word) => text.includes(word)));
        found += exercise.hidden ? 0 : 1;
      });
      part.hidden = !found;
      count += found;
    });
    said.textContent = `${count} ${count === 1 ? "exercise" : "exercises"}`;
  };

  // Who follows a link to an exercise sees it, whatever was chosen before.
  const arrive = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (target && target.closest("[hidden]")) {
      form.reset();
      choose();
      target.scrollIntoView();
    }
  };

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", choose);
  window.addEventListener("hashchange", arrive);
  chapters[0].before(form);
  choose();
})();
