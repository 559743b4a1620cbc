"""How Sphinx builds the documentation: make docs."""

import flowtrain

project = "flowtrain"
author = "The flowtrain developers"
copyright = "The flowtrain developers, Apache-2.0"
release = flowtrain.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence"]
html_theme = "furo"
html_title = f"flowtrain {release}"
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
