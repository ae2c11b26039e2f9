// Where files are dropped, or chosen, to become sessions, and what became of them. Tells "import-files" {files, folders},
// "open-session" {id}, and "leave" when what had the focus is no longer there.
import { h, hide, say, sessionLink, tell } from "./dom.js";
import { sessions as strings } from "./strings.js";

const MOST = 5; // sessions that are named; the others are in the list

class FileImport extends HTMLElement {
  connectedCallback() {
    if (this.input) return;
    this.input = h("input", { type: "file", multiple: true, hidden: true, accept: ".json,application/json", onchange: () => this.#chosen() });
    this.target = h("div", { class: "drop", hidden: true }, h("p", {}, h("strong", {}, strings.drop), h("span", {}, strings.dropWhat)));
    this.said = h("p", { role: "status" });
    this.details = h("div", { class: "details" });
    this.close = h("button", { type: "button", class: "quiet", "aria-label": strings.dismiss, onclick: () => this.#dismiss() }, "✕");
    this.report = h("section", { class: "report", "aria-label": strings.importing, hidden: true, onkeydown: ({ key }) => key === "Escape" && this.#dismiss() },
      h("div", { class: "top" }, this.said, this.close), this.details);
    this.append(this.input, this.target, this.report);
    // Wherever a file is dropped, the browser must not go to it instead.
    addEventListener("dragenter", (event) => this.#over(event));
    addEventListener("dragover", (event) => this.#over(event));
    addEventListener("drop", (event) => this.#dropped(event));
    addEventListener("dragleave", ({ relatedTarget }) => { if (!relatedTarget) this.target.hidden = true; });
  }

  choose() { this.input.click(); }

  // As an Importing has it.
  draw({ file, done, all, imported, skipped, failed }) {
    this.report.hidden = false;
    hide(this.close, Boolean(file), () => tell(this, "leave"));
    if (file) {
      this.details.replaceChildren();
      return say(this.said, strings.progress(done + 1, all, file.name));
    }
    say(this.said, strings.outcome(imported.length, skipped.length, failed.length));
    this.details.replaceChildren(
      h("ul", {}, imported.slice(0, MOST).map(({ session_id: id, title }) => h("li", {}, sessionLink(id, {}, h("bdi", { dir: "auto" }, strings.titled(title)))))),
      ...reasons(strings.failed, failed), ...reasons(strings.skipped, skipped));
  }

  #chosen() {
    tell(this, "import-files", { files: [...this.input.files], folders: [] });
    this.input.value = ""; // the same one may be chosen again
  }

  #over(event) {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    event.dataTransfer.dropEffect = "copy";
    this.target.hidden = false;
  }

  #dropped(event) {
    if (!carriesFiles(event)) return;
    event.preventDefault();
    this.target.hidden = true;
    const dropped = [...event.dataTransfer.items].filter(({ kind }) => kind === "file").map((item) => ({
      folder: item.webkitGetAsEntry?.()?.isDirectory, file: item.getAsFile(),
    }));
    tell(this, "import-files", {
      files: dropped.filter(({ folder, file }) => !folder && file).map(({ file }) => file),
      folders: dropped.filter(({ folder }) => folder).map(({ file }) => file?.name ?? ""),
    });
  }

  #dismiss() {
    const focused = this.contains(document.activeElement);
    this.report.hidden = true;
    this.details.replaceChildren();
    if (focused) tell(this, "leave");
  }
}

const carriesFiles = ({ dataTransfer }) => dataTransfer?.types.includes("Files");

const reasons = (heading, entries) => (entries.length === 0 ? [] : [h("h2", {}, heading), h("ul", {},
  entries.map(({ name, reason }) => h("li", {}, h("bdi", { class: "file", dir: "auto" }, name), ` ${reason}`)))]);

customElements.define("file-import", FileImport);
