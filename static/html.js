// The one place where HTML becomes nodes: what the server rendered and sanitised. Nothing else of the page parses any.

const policy = globalThis.trustedTypes?.createPolicy("backchat", { createHTML: (html) => html });

// The nodes of the server's HTML; none of them is in the page yet, so nothing of them loads or runs.
export function parsed(html) {
  const template = document.createElement("template");
  template.innerHTML = policy ? policy.createHTML(html) : html;
  return template.content;
}

// Makes the children of `parent`, from the one numbered `from` on, those of `wanted`, and touches only what differs: what
// stays the same node keeps its place, its scroll position, the focus and the selection. A button is the page's own, in whatever
// state it is.
export function morph(parent, wanted, from = 0) {
  let old = parent.childNodes[from] ?? null;
  for (const now of [...wanted.childNodes]) {
    const next = old?.nextSibling ?? null;
    if (!old) parent.append(now);
    else if (old.nodeName !== now.nodeName) old.replaceWith(now);
    else if (now.nodeType === Node.TEXT_NODE) rewrite(old, now.data);
    else if (now.nodeName !== "BUTTON") {
      agree(old, now);
      morph(old, now);
    }
    old = next;
  }
  while (old) {
    const next = old.nextSibling;
    old.remove();
    old = next;
  }
}

function agree(old, now) {
  for (const { name } of [...old.attributes]) if (!now.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of now.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}

// From the first difference on, so that a text which grows is added to.
function rewrite(node, text) {
  if (node.data === text) return;
  const most = Math.min(node.length, text.length);
  let same = 0;
  while (same < most && node.data[same] === text[same]) same++;
  node.replaceData(same, node.length - same, text.slice(same));
}
