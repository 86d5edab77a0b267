"use strict";

/* What all scripts of the page share: its data, elements made from text, numbers as text. */
const Report = (() => {
  const data = JSON.parse(document.getElementById("report-data").textContent);

  /* Make an element; children may be elements or texts, and a text never becomes markup. */
  function element(name, attributes = {}, ...children) {
    const made = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  }

  function number(value, digits = 3) {
    return value.toFixed(digits).replace("-", "\u2212");
  }

  function estimate(value, low, high) {
    if (value === null) return "undefined";
    const interval = low === null || high === null ? "no interval" : `${number(low)} to ${number(high)}`;
    return `${number(value)} (${interval})`;
  }

  /* Run something after the page could be painted, and whenever an element first comes near. */
  function whenNear(place, action) {
    const observer = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) {
        observer.disconnect();
        action();
      }
    }, { rootMargin: "300px" });
    observer.observe(place);
  }

  document.documentElement.classList.add("scripted");
  return { data, element, number, estimate, whenNear };
})();
