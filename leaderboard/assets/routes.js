"use strict";

/* One page per defense behind its address; the back button leads back to where one was. */
(() => {
  const title = document.title;
  let place = 0;

  function show() {
    const name = decodeURIComponent(location.hash.slice(1));
    const target = name ? document.getElementById(name) : null;
    const page = target?.closest("article.defense") ?? null;
    const was = document.querySelector("article.defense.current");
    if (page && !was) place = lastScroll;
    was?.classList.remove("current");
    page?.classList.add("current");
    document.body.classList.toggle("one-defense", page !== null);
    if (page) open(page);
    else overview(name, target, was !== null);
  }

  function open(page) {
    const heading = page.querySelector("h2");
    document.title = `${heading.textContent} \u2013 ${title}`;
    for (const table of page.querySelectorAll("table.sortable")) Tables.sortable(table);
    Curves.drawIn(page);
    scrollTo({ top: 0, behavior: "instant" });
    heading.focus({ preventScroll: true });
  }

  function overview(name, target, isReturn) {
    document.title = title;
    if (name.startsWith("images-") && Images.choose(name.slice("images-".length))) {
      target = document.getElementById("images");
    }
    if (target && name !== "top") {
      target.scrollIntoView();
      (target.querySelector("h2") ?? target).focus({ preventScroll: true });
    } else if (isReturn) {
      document.querySelector("h1").focus({ preventScroll: true });
      scrollTo({ top: place, behavior: "instant" });
    }
  }

  let lastScroll = 0;
  addEventListener("scroll", () => {
    if (!document.body.classList.contains("one-defense")) lastScroll = scrollY;
  }, { passive: true });
  addEventListener("hashchange", show);
  if (location.hash) show();
})();
