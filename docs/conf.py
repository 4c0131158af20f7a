"""Sphinx configuration. `make docs` builds the pages and runs the tutorials."""
import logging
import os
import sys
from pathlib import Path

os.environ.setdefault('MPLBACKEND', 'agg')
sys.path.insert(0, str(Path(__file__).parent / 'ext'))

import gluon_action

project = 'gluon_action'
author = 'the gluon_action developers'
copyright = '2026, the gluon_action developers'
release = gluon_action.__version__

extensions = ['sphinx.ext.autodoc', 'sphinx.ext.autosummary', 'sphinx.ext.viewcode', 'numpydoc', 'myst_parser',
              'sphinx_gallery.gen_gallery', 'sphinx_design', 'sphinx_copybutton', 'command_pages', 'gallery']
templates_path = []
exclude_patterns = ['_build', 'tutorials/GALLERY_HEADER.rst']

smartquotes = False  # two dashes of a flag are no dash of a sentence

html_theme = 'furo'
html_title = 'gluon_action'
html_static_path = ['static']
html_css_files = ['pages.css']
html_favicon = 'static/logo.svg'
html_show_sourcelink = False
html_theme_options = {
    'light_logo': 'logo.svg', 'dark_logo': 'logo.svg',
    'light_css_variables': {'color-brand-primary': '#0b61a4', 'color-brand-content': '#0b61a4'},
    'dark_css_variables': {'color-brand-primary': '#6cb6ff', 'color-brand-content': '#6cb6ff'},
}
pygments_style = 'friendly'
pygments_dark_style = 'github-dark'

autosummary_generate = True
autodoc_typehints = 'none'
autodoc_mock_imports = ['torch']  # an extra, and a large one
# Re-exported names are documented where they live.
autodoc_default_options = {'members': True, 'show-inheritance': True, 'ignore-module-all': True}
autosummary_ignore_module_all = True
numpydoc_show_class_members = False
myst_heading_anchors = 3
myst_enable_extensions = ['colon_fence']
copybutton_exclude = '.linenos, .gp, .go'

sphinx_gallery_conf = {
    'examples_dirs': 'tutorials',
    'gallery_dirs': 'gallery',
    'filename_pattern': r'\.py$',
    'within_subsection_order': 'gallery.ByTask',
    'image_scrapers': ('matplotlib', 'gallery.scrape'),
    'capture_repr': (),
    'abort_on_example_error': True,
    'show_memory': False,
    'write_computation_times': False,  # a page that asks other sites for its scripts
    'download_all_examples': False,
    'remove_config_comments': True,
}
logging.getLogger('matplotlib').setLevel(logging.WARNING)


def setup(app):
    """Leave modules without a source, a mocked one say, out of the list of sources: their links would be dead."""
    def forget_sourceless(app, env):
        modules = getattr(env, '_viewcode_modules', {})
        for name in [name for name, entry in modules.items() if not entry]:
            del modules[name]

    app.connect('env-check-consistency', forget_sourceless)
