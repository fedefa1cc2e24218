"""One page that opens offline: template, style, script, drawings, pictures and audio in a single file."""

import re
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from audioptq.report.figures.style import INK, PAPER, RULE

_SOURCES = files("audioptq.report.page")


def render_page(page: Mapping[str, Any]) -> str:
    """Fills the template; every text is escaped, save style, script and drawings, which are this package's own.

    Raises:
        jinja2.UndefinedError: If `page` lacks a value that the template needs.
    """
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(_SOURCES.joinpath("report.html.j2").read_text(encoding="utf-8"))
    own = {name: Markup(_SOURCES.joinpath(f"report.{name}").read_text(encoding="utf-8")) for name in ("css", "js")}
    return template.render(page={**page, **own}).lstrip()


def inline_svg(path: str | Path) -> Markup:
    """The `<svg>` element of a drawing for use inside a page.

    Ids are prefixed with the file's name, since a page holds several drawings; ink, rules and paper become the page's
    own colours, so that the drawing follows a dark page.
    """
    text = Path(path).read_text(encoding="utf-8")
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>|<!--.*?-->", "", text, flags=re.DOTALL)
    prefix = re.sub(r"\W", "-", Path(path).stem)
    text = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', text)
    text = re.sub(r'href="#([^"]+)"', rf'href="#{prefix}-\1"', text)
    text = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", text)
    for colour, replacement in ((INK, "currentColor"), (RULE, "var(--rule)"), (PAPER, "var(--paper)")):
        text = re.sub(re.escape(colour), replacement, text, flags=re.IGNORECASE)
    # Without width and height the drawing takes the width that the page gives it; viewBox keeps its shape.
    head, _, rest = text.partition(">")
    head = re.sub(r'\s(width|height)="[^"]*"', "", head)
    # The drawing was written by this package, and matplotlib draws the names in it as outlines: no text is left to act.
    return Markup(f"{head}>{rest}")
