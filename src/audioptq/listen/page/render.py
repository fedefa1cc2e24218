"""Fills the page: one file with its style and script, which asks nothing of any network.

Clips stand beside it as scripts that hold FLAC in base64. A page opened from a disk (`file://`) may load scripts but may not
`fetch` files, and audio elements cannot be switched at a sample; Web Audio can, and needs the bytes.
"""

import base64
import hashlib
import html
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

# In the order of their use: the browser gets them as one script.
SCRIPTS = ("dom", "checksum", "store", "clips", "player", "transport", "rating", "mushra", "abx", "screens", "main")


def render(plan: Mapping[str, Any]) -> str:
    """The page of a test.

    Args:
        plan: What the page may know; it is put in as JSON that cannot end its element, whatever captions hold.
    """
    own = files("audioptq.listen.page")
    style = own.joinpath("listen.css").read_text(encoding="utf-8")
    parts = [own.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    script = '"use strict";\n(() => {\n' + "\n".join(parts) + "})();\n"
    policy = (
        f"default-src 'none'; script-src {_hash(script)} 'self' file:; style-src {_hash(style)}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    data = (
        json.dumps(plan, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c").replace("\u2028", "\\u2028")
    )
    page = own.joinpath("listen.html").read_text(encoding="utf-8")
    fills = {"TITLE": html.escape(str(plan["title"])), "POLICY": policy, "STYLE": style, "SCRIPT": script, "PLAN": data}
    pieces = page.split("@@")
    # Odd pieces are names: nothing that is filled in is looked through for further ones.
    return "".join(fills[piece] if index % 2 else piece for index, piece in enumerate(pieces))


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
