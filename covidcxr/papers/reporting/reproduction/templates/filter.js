"use strict";
const form = document.getElementById("choose");
const chosen = () => Object.fromEntries(new FormData(form));
function show() {
  const want = chosen();
  for (const element of document.querySelectorAll("[data-paper], [data-network], [data-protocol]")) {
    const fits = (name) => {
      const has = element.getAttribute("data-" + name);
      return !want[name] || has === null || has.split(" ").includes(want[name]);
    };
    element.style.display = ["paper", "protocol", "network"].every(fits) ? "" : "none";
  }
  const left = [...document.querySelectorAll("article")].some((element) => element.style.display !== "none");
  document.getElementById("nothing").hidden = left;
}
// A choice can be given in the address: index.html?paper=ragab2022
for (const [name, value] of new URLSearchParams(location.search)) {
  const select = form.elements.namedItem(name);
  if (select && [...select.options].some((option) => option.value === value)) select.value = value;
}
form.hidden = false;
form.addEventListener("change", show);
show();
