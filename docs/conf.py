"""How Sphinx builds the documentation: make docs."""

import flowtrain

project = "flowtrain"
author = "The flowtrain developers"
copyright = "The flowtrain developers, Apache-2.0"
release = flowtrain.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence"]
nb_execution_mode = "off"  # the tests run the notebook
html_theme = "furo"
html_theme_options = {"source_edit_link": "", "top_of_page_buttons": []}
html_static_path = ["static"]
html_css_files = ["gallery.css"]
html_title = f"flowtrain {release}"
exclude_patterns = ["_build"]
autodoc_member_order = "bysource"
autodoc_typehints = "description"
