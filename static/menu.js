// A menu that a button opens: arrow keys, Home, End and first letters move in it, Enter takes, Escape and Tab leave it.
import { h } from "./dom.js";

const MARGIN = 8; // between the menu and the edges of the window, in pixels

// A button for it. `items` is asked at every opening: () → [{label, run, danger} | {label, href}], of which a link is a download.
export function menuButton(attributes, items, ...children) {
  const button = h("button", {
    type: "button", "aria-haspopup": "menu", "aria-expanded": "false", ...attributes,
    onclick: () => open(button, items()),
    onkeydown: (event) => {
      if (event.key !== "ArrowDown") return;
      event.preventDefault();
      event.stopPropagation();
      open(button, items());
    },
  }, ...children);
  return button;
}

// Where its button is about to be moved or taken away, a menu cannot stay open.
export function closeMenus(within) {
  for (const menu of within.querySelectorAll(".menu-items:popover-open")) menu.hidePopover();
}

// The button of the menu that something is in; null where it is in none.
export const buttonOfMenu = (node) => node.closest(".menu-items")?.previousElementSibling ?? null;

function open(button, items) {
  const menu = h("div", { class: "menu-items", role: "menu", popover: "auto", "aria-label": button.getAttribute("aria-label") });
  const leave = () => {
    menu.hidePopover();
    button.focus();
  };
  menu.append(...items.map((item) => entry(item, leave)));
  menu.addEventListener("keydown", (event) => pressed(event, menu, leave));
  menu.addEventListener("toggle", ({ newState }) => newState === "closed" && menu.remove());
  menu.addEventListener("beforetoggle", ({ newState }) => button.setAttribute("aria-expanded", String(newState === "open")));
  button.after(menu); // beside it, so that it is in the same landmark; shown above all
  menu.showPopover();
  place(menu, button);
  menu.firstElementChild.focus();
}

function entry({ label, run, href, danger }, leave) {
  const attributes = { role: "menuitem", tabindex: "-1", class: danger && "danger" };
  // Left first: what follows may move the focus on.
  if (href) return h("a", { ...attributes, href, download: "", onclick: leave }, label);
  return h("button", { ...attributes, type: "button", onclick: () => { leave(); run(); } }, label);
}

function pressed(event, menu, leave) {
  const entries = [...menu.children];
  const at = entries.indexOf(document.activeElement);
  const to = (index) => entries.at(index % entries.length).focus();
  if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
  event.stopPropagation(); // what opened it has keys of its own
  if (event.key === "ArrowDown") to(at + 1);
  else if (event.key === "ArrowUp") to(at - 1);
  else if (event.key === "Home") to(0);
  else if (event.key === "End") to(-1);
  else if (event.key === "Escape") leave();
  else if (event.key === "Tab") return leave(); // and on to what follows the button
  else if (event.key === " ") document.activeElement.click(); // a link does not know this key
  else if (event.key.length !== 1) return;
  else [...entries.slice(at + 1), ...entries].find((one) => one.textContent.toLowerCase().startsWith(event.key.toLowerCase()))?.focus();
  event.preventDefault();
}

// Below the button and flush with its end, or wherever there is room.
function place(menu, button) {
  const anchor = button.getBoundingClientRect();
  const { width, height } = menu.getBoundingClientRect();
  const rtl = getComputedStyle(button).direction === "rtl";
  const left = rtl ? anchor.left : anchor.right - width;
  const below = anchor.bottom + 4;
  const top = below + height + MARGIN <= innerHeight ? below : anchor.top - height - 4;
  menu.style.left = `${Math.max(MARGIN, Math.min(left, innerWidth - width - MARGIN))}px`;
  menu.style.top = `${Math.max(MARGIN, top)}px`;
}
