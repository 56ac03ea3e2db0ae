// What the search quotes of a page: its article, without what a reader does not see there.
{
  const quote = Search.htmlToText;
  const UNSEEN = "#jb-print-docs-body, .onlyprint, .d-print-none, .prev-next-footer, template, svg, button, [hidden], .tag_hide-cell, .tag_hide-input > .cell_input, .to-exercise, mjx-container";
  Search.htmlToText = (text, anchor) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    page.querySelectorAll(UNSEEN).forEach((part) => part.remove());
    const article = page.querySelector("article.bd-article");
    if (article) article.setAttribute("role", "main"); // the search takes the first of these
    page.querySelectorAll("main").forEach((part) => part.removeAttribute("role"));
    return quote(page.documentElement.outerHTML, anchor);
  };
}
