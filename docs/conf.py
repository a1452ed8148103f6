"""Sphinx settings of the site: `python -m sphinx -W --keep-going -b html docs docs/_build`.

Invariant: what the package says of itself (docstrings, README, architecture, notebooks) is taken
from where it stands, at build time; nothing here repeats it.
"""

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent)]

import hybrid  # noqa: E402  (this checkout)

project = "hybrid"
author = "the authors of hybrid"
project_copyright = author
release = version = hybrid.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "myst_nb",
    "sphinx_copybutton",
    "reference",
    "notebooks",
]
exclude_patterns = ["_build", "_ext", "outputs", "jupyter_execute", "**.ipynb_checkpoints"]
smartquotes = False

# ---- text
myst_heading_anchors = 4
myst_enable_extensions = ["colon_fence", "deflist"]
nb_merge_streams = True
nb_execution_mode = "off"  # stored outputs are shown
highlight_language = "none"  # a block without a language is a dump or a drawing
pygments_style, pygments_dark_style = "friendly", "github-dark"
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_exclude = ".linenos, .gp, .go"

# ---- reference
autodoc_member_order = "alphabetical"
autodoc_typehints = "none"
autosummary_generate = False
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
toc_object_entries_show_parents = "hide"

# ---- pages
html_theme = "furo"
html_title = f"hybrid {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
