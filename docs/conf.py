"""Sphinx configuration. `make docs` builds the pages and runs the tutorials."""
import logging
import os

os.environ.setdefault('MPLBACKEND', 'agg')

import gluon_action

project = 'gluon_action'
author = 'the gluon_action developers'
copyright = '2026, the gluon_action developers'
release = gluon_action.__version__

extensions = ['sphinx.ext.autodoc', 'sphinx.ext.autosummary', 'sphinx.ext.viewcode', 'numpydoc', 'myst_parser',
              'sphinx_gallery.gen_gallery']
templates_path = []
exclude_patterns = ['_build', 'tutorials/GALLERY_HEADER.rst']
html_theme = 'alabaster'
html_theme_options = {'description': 'Video action recognition on MXNet/Gluon', 'page_width': '1080px'}
html_show_sourcelink = False

autosummary_generate = True
autodoc_typehints = 'none'
# Re-exported names are documented where they live.
autodoc_default_options = {'members': True, 'show-inheritance': True, 'ignore-module-all': True}
autosummary_ignore_module_all = True
numpydoc_show_class_members = False
myst_heading_anchors = 2

sphinx_gallery_conf = {
    'examples_dirs': 'tutorials',
    'gallery_dirs': 'gallery',
    'filename_pattern': r'\.py$',
    'abort_on_example_error': True,
    'show_memory': False,
    'download_all_examples': False,
    'remove_config_comments': True,
}
logging.getLogger('matplotlib').setLevel(logging.WARNING)
