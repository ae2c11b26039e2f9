// Every vector, held against the page's reducer (static/transcript.js): `node --test tests/vectors/transcript.test.mjs`.
// A vector is a list of notifications and the view that they lead to; see tests/test_vectors.py.

import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";

// The module is imported from its text, so that it can import nothing and finds no page.
const module = readFileSync(new URL("../../static/transcript.js", import.meta.url), "utf8");
const { emptyView, apply, prepend, liveRun } = await import("data:text/javascript," + encodeURIComponent(module));

// Every view is frozen before it is handed on: a reducer that changed what it was given would throw.
const frozen = (value) => {
  if (value && typeof value === "object") Object.values(Object.freeze(value)).forEach(frozen);
  return value;
};

const shown = (steps) => {
  let view = frozen(emptyView());
  for (const { method, params, page } of steps) {
    const next = frozen(page ? prepend(view, page) : apply(view, method, frozen(params)));
    const meant = page || /^(transcript[.]|attached$)/.test(method);
    if (!meant) assert.equal(next.messages, view.messages, "messages were copied");
    view = next;
  }
  return view;
};

for (const file of readdirSync(new URL(".", import.meta.url)).filter((name) => name.endsWith(".json")).sort()) {
  for (const vector of JSON.parse(readFileSync(new URL(file, import.meta.url), "utf8"))) {
    test(`${file}: ${vector.does}`, () => {
      if (vector.view === null) {
        assert.throws(() => shown(vector.steps), (error) => !(error instanceof assert.AssertionError));
        return;
      }
      const view = shown(vector.steps);
      assert.deepEqual(view, vector.view);
      if ("shows" in vector) assert.deepEqual(liveRun(view), vector.shows);
    });
  }
}
