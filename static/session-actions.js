// What can be done with a session, as entries of a menu: in the list and in the heading. Tells "delete-session" {id}.
import { exportAddress } from "./api.js";
import { tell } from "./dom.js";
import { sessions as strings } from "./strings.js";

// `from` tells; `rename` opens the field for the title; `others` are further entries.
export const sessionActions = (from, id, rename, others = []) => [
  { label: strings.rename, run: rename },
  { label: strings.exportMarkdown, href: exportAddress(id, "markdown") },
  { label: strings.exportJson, href: exportAddress(id, "json") },
  ...others,
  { label: strings.delete, danger: true, run: () => tell(from, "delete-session", { id }) },
];
