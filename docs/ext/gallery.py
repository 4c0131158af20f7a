"""The tutorials' pages: their order, the folder they work in, and pictures of commands, which are shown as they are."""
import os
import shutil
from pathlib import Path

from sphinx_gallery import gen_rst
from sphinx_gallery.scrapers import figure_rst

#: Tutorials in the order in which somebody with videos of their own needs them.
ORDER = ('own_folder', 'test_and_report', 'what_is_wrong', 'predict_segments', 'features_and_a_classifier',
         'two_streams', 'export_without_mxnet', 'timesformer_clips', 'youtube8m', 'dive_deep_ucf101')


class ByTask:
    """Key by which Sphinx-Gallery sorts: a file that `ORDER` does not know is an error."""

    def __init__(self, src_dir):
        pass

    def __call__(self, filename):
        """Return the place of a tutorial."""
        return ORDER.index(Path(filename).stem)


def scrape(block, block_vars, gallery_conf):
    """Return reStructuredText with the pictures that a tutorial's list `pictures` names, which is taken away."""
    names = block_vars['example_globals'].pop('pictures', ())
    shown = []
    for name, place in zip(names, block_vars['image_path_iterator']):
        place = Path(place).with_suffix(Path(name).suffix)
        shutil.copyfile(name, place)
        shown.append(str(place))
    return figure_rst(shown, gallery_conf['src_dir'])


def setup(app):
    """Let each cell of a tutorial begin in the folder in which the one before it ended, as in a notebook.

    Sphinx-Gallery begins all of them in the folder of the tutorial, and has no option for that.
    """
    execute = gen_rst._exec_and_get_memory

    def execute_there(*args, script_vars, **kwargs):
        os.chdir(script_vars.get('folder', os.curdir))
        result = execute(*args, script_vars=script_vars, **kwargs)
        script_vars['folder'] = os.getcwd()
        return result

    gen_rst._exec_and_get_memory = execute_there
    return {'parallel_read_safe': True}
