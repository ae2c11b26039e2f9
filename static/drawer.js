// The side of the page, which on a narrow screen is a drawer over it.
const find = (selector) => document.querySelector(selector);

export function openDrawer() {
  show(true);
  find("#close-menu").focus();
}

export function closeDrawer() {
  if (!document.body.classList.contains("menu-open")) return;
  show(false);
  find("#open-menu").focus();
}

// There is none where there is room for both.
matchMedia("(max-width: 48rem)").addEventListener("change", () => show(false));

function show(shown) {
  document.body.classList.toggle("menu-open", shown);
  find("#scrim").hidden = !shown;
  find("main").inert = shown;
  find("#open-menu").setAttribute("aria-expanded", String(shown));
}
