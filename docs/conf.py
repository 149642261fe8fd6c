"""How Sphinx makes the manual: Markdown by MyST, the pages of the API from docstrings."""

import sys
from pathlib import Path

from pygments.lexers.configs import IniLexer
from pygments.lexers.javascript import JavascriptLexer
from pygments.lexers.special import TextLexer
from sphinx.application import Sphinx

from gridcompute import config
from gridcompute.machine import licences

top = Path(__file__).parents[1]
sys.path.insert(0, str(top))  # admin/ is no part of the package
sys.path.insert(0, str(top / "template/Shared_Folder/Settings/Applications/Random Counter"))  # send, process, receive

project = config.program_name
author = config.author
copyright = config.copyright
version = release = config.version

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.viewcode"]
source_suffix = {".md": "markdown"}
root_doc = "index"

myst_heading_anchors = 4
default_role = "py:obj"  # a name between single backticks leads to its entry where there is one

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_preserve_defaults = True

html_theme = "furo"
html_title = f"{project} {release}"
html_favicon = "../gridcompute/gui/icon.ico"
html_logo = "../gridcompute/gui/icon.png"
html_copy_source = False


def add_licences(app: Sphinx, docname: str, source: list[str]) -> None:
    """The page of licences goes on with those of the parts that are installed."""
    if docname == "licence":
        others = [part for part in licences.parts() if part.name != "gridcompute"]
        source[0] += "".join(f"\n### {part.title}\n\n``````text\n{part.text}\n``````\n" for part in others)


def setup(app: Sphinx) -> None:
    """Colours for the blocks that tests/docs knows by names of its own, and the licences."""
    for language, lexer in (("mongosh", JavascriptLexer), ("settings", IniLexer), ("csv", TextLexer)):
        app.add_lexer(language, lexer)
    app.connect("source-read", add_licences)
