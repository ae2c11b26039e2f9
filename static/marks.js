// How long what a person waits for takes: performance.measure entries of the page, the latest of each name. Pure but for the
// clock and the frames of the browser.

// From `start` (as performance.now() and event.timeStamp count) to the frame that shows what has been drawn by now.
export function untilShown(name, start) {
  if (document.hidden) return; // no frames come
  requestAnimationFrame(() => setTimeout(() => {
    performance.clearMeasures(name); // one of each, or they would gather
    performance.measure(name, { start });
  }));
}
