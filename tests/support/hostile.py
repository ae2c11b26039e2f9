"""What somebody might write, call a thing, or make a model say, to run a script of theirs in another's page.

Each of these would set `hacked` if it ever ran as it wishes, ask for something from elsewhere, or leave an element
where only text should be.
"""

from typing import Final

RUN: Final = "window.hacked=1"

MARKUP: Final = (
    f"<script>{RUN}</script>",
    f"<img src=x onerror={RUN}>",
    f'<img src="x" onerror="{RUN}">',
    f"<svg onload={RUN}>",
    f"<svg><script>{RUN}</script></svg>",
    f"<svg><animate onbegin={RUN} attributeName=x dur=1s></svg>",
    f"<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=x onerror={RUN}&gt;'>",
    f"<iframe srcdoc='<script>parent.{RUN}</script>'></iframe>",
    f"<iframe src=javascript:parent.{RUN}></iframe>",
    f"<body onload={RUN}>",
    f"<details open ontoggle={RUN}>x</details>",
    f"<input autofocus onfocus={RUN}>",
    "<style>@import 'https://elsewhere.invalid/x.css'; *{background:url(https://elsewhere.invalid/y)}</style>",
    "<link rel=stylesheet href=https://elsewhere.invalid/x.css>",
    "<meta http-equiv=refresh content='0;url=https://elsewhere.invalid/'>",
    "<base href=https://elsewhere.invalid/>",
    f"<form action=javascript:{RUN}><button>go</button></form>",
    f"<a href=javascript:{RUN} autofocus>x</a>",
    f"<template><img src=x onerror={RUN}></template>",
    f"<noscript><p title='</noscript><img src=x onerror={RUN}>'></noscript>",
    f"<!--><img src=x onerror={RUN}>-->",
    f"<![CDATA[><img src=x onerror={RUN}>]]>",
    f"<xmp><img src=x onerror={RUN}></xmp></xmp><img src=x onerror={RUN}>",
    f"</textarea></title></style></script><img src=x onerror={RUN}>",
    f"&lt;img src=x onerror={RUN}&gt;",
    f"\u003cimg src=x onerror={RUN}\u003e \\u003cimg src=x onerror={RUN}\\u003e",
    f"{{{{constructor.constructor('{RUN}')()}}}} ${{{RUN}}}",
)
"""HTML, and what parsers take for it."""

MARKDOWN: Final = (
    f"[x](javascript:{RUN})",
    f"[x](JaVaScRiPt:{RUN})",
    f"[x](java\tscript:{RUN})",
    f"[x](&#106;avascript:{RUN})",
    f"[x](javascript&colon;{RUN})",
    f"[x](%6Aavascript:{RUN})",
    f"[x](<javascript:{RUN}>)",
    f"[x](data:text/html,<script>{RUN}</script>)",
    f"[x](vbscript:{RUN})",
    f"<javascript:{RUN}>",
    f"[x][y]\n\n[y]: javascript:{RUN}",
    f'[x](https://elsewhere.invalid "\\" onmouseover={RUN} x=\\"")',
    f'[x](https://elsewhere.invalid/"onmouseover="{RUN})',
    f'![x](x"onerror="{RUN})',
    "![x](https://elsewhere.invalid/pixel.png)",
    f"![x](data:image/svg+xml,<svg/onload={RUN}>)",
    f"![<img src=x onerror={RUN}>](x)",
    f"`<img src=x onerror={RUN}>`",
    f"```html\n<img src=x onerror={RUN}>\n```",
    f'```"><img src=x onerror={RUN}>\nx\n```',
    f"```js onload={RUN}\n</code></pre><img src=x onerror={RUN}>\n```",
    f"|<img src=x onerror={RUN}>|b|\n|-|-|\n|[c](javascript:{RUN})|<script>{RUN}</script>|",
    f"> - # <img src=x onerror={RUN}>",
    f'https://elsewhere.invalid/"onmouseover={RUN}',
    f"**<img src=x **onerror={RUN}>",
    f"<https://elsewhere.invalid/' onmouseover='{RUN}>",
    f"<p style=position:fixed;inset:0 class=notice id=message>{RUN}</p>",
)
"""Markdown that a careless renderer makes such HTML of."""

TEXTS: Final = (*MARKUP, *MARKDOWN)
