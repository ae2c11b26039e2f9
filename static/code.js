// What the page adds to rendered text: to code blocks a button that copies, and a way to scroll by keyboard what may be too wide.
import { actionButton } from "./actions.js";
import { transcript as words } from "./strings.js";

// Before the nodes are put into the page, so that all blocks look alike to `morph`.
export function dress(fragment) {
  for (const head of fragment.querySelectorAll(".code > .code-head")) {
    head.nextElementSibling?.setAttribute("tabindex", "0");
    head.append(actionButton("copy", words.copyCode, { class: "quiet act copy-code" }));
  }
  for (const table of fragment.querySelectorAll(".table")) {
    table.setAttribute("tabindex", "0");
    table.setAttribute("role", "region");
    table.setAttribute("aria-label", words.table);
  }
  return fragment;
}

// The text of the block that a button belongs to.
export const codeOf = (button) => button.closest(".code").querySelector("pre").textContent;
