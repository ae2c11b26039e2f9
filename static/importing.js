// Files become sessions, one file after the other. Event: "change".
import { importFile } from "./api.js";
import { sessions as strings } from "./strings.js";

export class Importing extends EventTarget {
  #ask; // makes a request, once more after signing in
  #files = []; // still to come

  constructor(ask) {
    super();
    this.#ask = ask;
    this.file = null; // the one that is on its way; null: none is
    this.#begin();
  }

  // Counts files; `imported` are {session_id, title}, `skipped` and `failed` are {name, reason}.
  #begin() {
    this.done = this.all = 0;
    this.imported = [];
    this.skipped = [];
    this.failed = [];
  }

  // Files, and the names of folders, that were dropped or chosen. Those that come meanwhile wait.
  async add(files, folders = []) {
    if (!this.file) this.#begin();
    this.failed.push(...folders.map((name) => ({ name, reason: strings.folder })));
    this.#files.push(...files);
    this.all += files.length;
    if (this.file) return this.#tell();
    while ((this.file = this.#files.shift() ?? null)) {
      this.#tell();
      await this.#import(this.file);
      this.done++;
    }
    this.#tell();
  }

  async #import(file) {
    try {
      if (await isArchive(file)) return this.failed.push({ name: file.name, reason: strings.archive });
      const { imported, skipped, failed } = await this.#ask(() => importFile(file));
      this.imported.push(...imported);
      this.skipped.push(...skipped);
      this.failed.push(...failed);
    } catch (error) {
      this.failed.push({ name: file.name, reason: error.status === 413 ? strings.tooLargeToImport : error.message });
    }
  }

  #tell() {
    this.dispatchEvent(new CustomEvent("change"));
  }
}

// By its first bytes: that is how exports come, and only what is in it can be read.
const isArchive = async (file) => (await file.slice(0, 4).text()) === "PK\x03\x04";
