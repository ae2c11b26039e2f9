// What a button opens above itself. It goes with Escape, with a second press, and when the focus leaves it; where the focus was in
// it, the button has it then.
export class Sheet {
  #button;
  #panel;
  #opened;

  // `opened` is called with each opening, and is to put the focus somewhere into the panel.
  constructor(button, panel, opened) {
    [this.#button, this.#panel, this.#opened] = [button, panel, opened];
    panel.hidden = true;
    button.setAttribute("aria-haspopup", "dialog");
    button.setAttribute("aria-expanded", "false");
    button.addEventListener("pointerdown", (event) => this.open && event.preventDefault()); // it would close, to be opened anew
    button.addEventListener("click", () => (this.open ? this.close() : this.#show()));
    panel.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing) return;
      event.stopPropagation();
      this.close();
    });
    panel.addEventListener("focusout", ({ relatedTarget }) => {
      if (document.hasFocus() && !panel.contains(relatedTarget)) this.close();
    });
  }

  get open() { return !this.#panel.hidden; }

  close() {
    if (!this.open) return;
    const within = this.#panel.contains(document.activeElement);
    this.#panel.hidden = true;
    this.#button.setAttribute("aria-expanded", "false");
    if (within) this.#button.focus();
  }

  #show() {
    this.#panel.hidden = false;
    this.#button.setAttribute("aria-expanded", "true");
    this.#opened();
  }
}
