import ast
import functools
import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from forking import Copy

PACKAGE = Path(__file__).parents[1] / 'gluon_action'

# Layers from top to bottom; a module may import its own part and everything below it. `model_zoo` and `data` stand
# side by side: neither may import the other.
GROUND = {'class_names', 'engine', 'options', 'input_kind', 'feature_architecture', 'files', 'array_files', 'wire',
          'run_config', 'signals', 'unfinished', 'printable', 'errors'}
BELOW = {
    'cli': {'deploy', 'train', 'evaluate', 'compute', 'model_zoo', 'nn', 'weights', 'data', *GROUND},
    'deploy': {'train', 'evaluate', 'compute', 'model_zoo', 'nn', 'weights', 'data', *GROUND},
    'train': {'evaluate', 'compute', 'model_zoo', 'nn', 'weights', 'data', *GROUND},
    'evaluate': {'compute', 'model_zoo', 'nn', 'weights', 'data', *GROUND},
    'compute': {'model_zoo', 'nn', 'data', *GROUND},
    'model_zoo': {'nn', 'weights', *GROUND},
    'nn': GROUND,
    'data': GROUND,
    'class_names': set(),
    'weights': {'options', 'errors', 'files', 'class_names'},
    'engine': {'errors', 'mxnet_import'},
    'mxnet_import': {'errors'},
    'files': {'errors'},
    'array_files': {'files'},
    'input_kind': {'errors'},
    'feature_architecture': {'errors', 'files', 'input_kind', 'options'},
    'options': set(),
    'run_config': {'errors', 'files'},
    'wire': {'errors'},
    'signals': set(),
    'unfinished': {'errors', 'files', 'signals'},
    'printable': set(),
    'errors': set(),
    'utils': {'train', 'data', 'model_zoo'},
    '': {'engine', 'errors'},
}
# Where MXNet is imported at the top: what is computed by it, and the modules whose classes are Gluon's for GluonCV's
# users.
ON_MXNET = ('compute/on_mxnet/', 'nn/', 'model_zoo/', 'engine.py', 'data/transforms/video.py', 'data/video_dataset.py',
            'data/dataloader.py')
# What asks inside a function whether MXNet is there, reads its symbols, or hands Gluon's own classes to users.
ASKS_FOR_MXNET = ('cli/doctor.py', 'deploy/predict/open_predictor.py', 'compute/graph.py', 'data/by_name.py')
MODULES = sorted(PACKAGE.rglob('*.py'))
ROOMS_WITHOUT_MXNET = ('lists', 'reading', 'flow', 'fast_copies', 'tfrecords', 'loading', 'demo')
WITHOUT_MXNET = ['gluon_action.options', 'gluon_action.feature_architecture', 'gluon_action.data.by_name',
                 'gluon_action.train.recipes.frame_features.config',
                 'gluon_action.evaluate.options.frame_features_config',
                 'gluon_action.cli.youtube8m.train', 'gluon_action.cli.youtube8m.eval',
                 'gluon_action.data.video_options', 'gluon_action.compute.graph',
                 'gluon_action.compute.operators'] + [
    '.'.join(path.relative_to(PACKAGE.parent).with_suffix('').parts) for path in MODULES
    if path.relative_to(PACKAGE).parts[:1] == ('data',) and path.relative_to(PACKAGE).parts[1] in ROOMS_WITHOUT_MXNET
    and path.stem != '__init__']


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """A module of the package, parsed once for all who look into it."""
    return ast.parse(path.read_text())


def takes(package: str, node: ast.AST) -> bool:
    """Whether a statement imports a package or a part of it."""
    names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else \
        [node.module or ''] if isinstance(node, ast.ImportFrom) and not node.level else []
    return any(name.split('.')[0] == package for name in names)


takes_mxnet = functools.partial(takes, 'mxnet')


def modules_at_the_top(path: Path) -> set[Path]:
    """Files of this package that a file imports at its top, for type checkers too."""
    found, tree = set(), tree_of(path)
    blocks = [tree.body, *(node.body for node in tree.body if isinstance(node, (ast.If, ast.Try)))]
    for node in (node for block in blocks for node in block if isinstance(node, ast.ImportFrom)):
        package = ['gluon_action', *path.relative_to(PACKAGE).parent.parts]
        start = package[:len(package) - node.level + 1] if node.level else []
        base = [*start, *(node.module or '').split('.')] if node.module else start
        if base[:1] != ['gluon_action']:
            continue
        for name in [[*base, alias.name] for alias in node.names] + [base]:
            stem = PACKAGE.joinpath(*name[1:])
            # A name out of a package's __init__ is had from there; a module beside it is not.
            target = stem.with_suffix('.py') if stem.with_suffix('.py').is_file() else stem / '__init__.py'
            if target.is_file() and target != path:
                found.add(target)
                break
    return found


def part_of(module: str) -> str:
    """'gluon_action.data.reading.sampling' -> 'data'; the package itself is ''."""
    return (module.split('.') + [''])[1]


def imported(path: Path, tree: ast.Module) -> set[str]:
    """Modules of this package that a file imports, at its top or inside functions, by full name."""
    package = ['gluon_action', *path.relative_to(PACKAGE).parent.parts]
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            start = package[:len(package) - node.level + 1] if node.level else []
            base = '.'.join([*start, *filter(None, [node.module])])
            # 'from .. import data' and 'from gluon_action import data' name modules behind the word import.
            found |= {f'{base}.{alias.name}' for alias in node.names} if base == 'gluon_action' else {base}
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ('importlib.import_module', 'import_module'):
            found |= {node.args[0].value} if isinstance(node.args[0], ast.Constant) else set()
    return {name for name in found if name.split('.')[0] == 'gluon_action' and name != 'gluon_action.__version__'}


def wrong_arrows(path: Path, tree: ast.Module) -> list[str]:
    here = path.relative_to(PACKAGE).parts[0].removesuffix('.py').replace('__init__', '')
    return [f'{path.relative_to(PACKAGE)} imports {name}' for name in sorted(imported(path, tree))
            if part_of(name) not in {here, *BELOW[here]}]


def test_imports_run_downwards():
    assert [arrow for path in MODULES for arrow in wrong_arrows(path, tree_of(path))] == []


def test_what_trains_knows_no_recipe():
    """A recipe is an argument of the loop and of the run."""
    below = [path for path in (PACKAGE / 'train').rglob('*.py') if PACKAGE / 'train/recipes' not in path.parents]
    assert len(below) > 10 and not [(path.name, name) for path in below for name in imported(path, tree_of(path))
                                    if name.startswith('gluon_action.train.recipes')]


@pytest.mark.parametrize('path, source', [
    ('data/x.py', 'from ..model_zoo import get_model'), ('data/x.py', 'from .. import model_zoo'),
    ('data/transforms/x.py', 'from ...train.loop import train'),
    ('model_zoo/x.py', 'import gluon_action.data.reading.sampling'),
    ('nn/x.py', 'def f():\n    from gluon_action.model_zoo import registry'),
    ('train/x.py', 'from ..utils import makedirs'),
    ('evaluate/x.py', 'from ..cli.main import main'), ('errors.py', 'from . import engine'),
    ('nn/x.py', 'import importlib\nimportlib.import_module("gluon_action.train")')])
def test_a_wrong_arrow_is_seen(path, source):
    assert len(wrong_arrows(PACKAGE / path, ast.parse(source))) == 1


@pytest.mark.parametrize('path, source', [
    ('data/x.py', 'from ..errors import UsageError'), ('train/x.py', 'from .. import data'),
    ('cli/x.py', 'from gluon_action import __version__'), ('data/transforms/x.py', 'from ..sampling import sample_rng'),
    ('data/x.py', 'import numpy as np')])
def test_a_right_arrow_is_let_through(path, source):
    assert wrong_arrows(PACKAGE / path, ast.parse(source)) == []


def test_mxnet_is_imported_where_it_computes_and_nowhere_else():
    elsewhere = {str(path.relative_to(PACKAGE)): tree_of(path) for path in MODULES
                 if not str(path.relative_to(PACKAGE)).startswith(ON_MXNET)}
    assert [place for place, tree in elsewhere.items() if any(map(takes_mxnet, tree.body))] == []
    assert [place for place, tree in elsewhere.items()
            if place not in ASKS_FOR_MXNET and any(map(takes_mxnet, ast.walk(tree)))] == []


def test_pytorch_is_imported_where_it_computes_and_nowhere_else():
    with_torch = [str(path.relative_to(PACKAGE)) for path in MODULES
                  if any(takes('torch', node) for node in ast.walk(tree_of(path)))]
    assert with_torch and [place for place in with_torch if not place.startswith('compute/on_torch/')] == []


def test_what_pytorch_computes_is_loaded_where_it_is_called_for():
    """PyTorch is an extra: a module that others import may import nothing of its engine at the top."""
    engine = PACKAGE / 'compute/on_torch'
    assert [str(path.relative_to(PACKAGE)) for path in MODULES if engine not in path.parents
            and any(engine in target.parents for target in modules_at_the_top(path))] == []


def test_modules_do_not_import_each_other_in_a_circle():
    left = {path: modules_at_the_top(path) for path in MODULES}
    while ends := [path for path, targets in left.items() if not targets & left.keys()]:
        for path in ends:
            del left[path]
    assert {str(path.relative_to(PACKAGE)): sorted(str(target.relative_to(PACKAGE)) for target in targets & left.keys())
            for path, targets in left.items()} == {}


def test_every_part_has_its_place():
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix('.py') for path in MODULES}
    assert parts - {'__init__'} <= set(BELOW)


def test_importing_what_needs_no_mxnet_does_not_load_it():
    statements = ('import gluon_action', 'import gluon_action.data', 'import gluon_action.utils',
                  *(f'import {name}' for name in WITHOUT_MXNET))
    code = ('import sys\nfor statement in sys.argv[1:]:\n    exec(statement)\n'
            "    for name in ('mxnet', 'torch', 'gluoncv', 'matplotlib'):\n"
            "        assert name not in sys.modules, f'{statement} loads {name}'")
    done = subprocess.run([sys.executable, '-c', code, *statements], capture_output=True, text=True, cwd=PACKAGE.parent)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('package', ['data', 'utils'])
def test_every_public_name_exists(package):
    module = importlib.import_module(f'gluon_action.{package}')
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
    assert set(module.__all__) <= set(dir(module))
    assert not hasattr(module, 'no_such_name')


def test_class_names_need_no_gluoncv():
    def ask():
        for name in list(sys.modules):
            if name.split('.')[0] == 'gluoncv' or name.startswith('gluon_action.data'):
                del sys.modules[name]
        sys.modules['gluoncv'] = None
        data = importlib.import_module('gluon_action.data')
        assert (len(data.UCF101Attr().classes), len(data.Kinetics700Attr().classes)) == (101, 700)
    asked = Copy(ask)
    output = asked.communicate()[0]
    assert asked.returncode == 0, output


def test_every_file_that_is_no_module_is_part_of_the_package():
    settings = tomllib.loads((PACKAGE.parent / 'pyproject.toml').read_text())
    shipped = {path for pattern in settings['tool']['setuptools']['package-data']['gluon_action']
               for path in PACKAGE.glob(pattern)}
    there = {path for path in PACKAGE.rglob('*') if path.is_file() and path.suffix not in ('.py', '.pyc')}
    assert there and there == shipped
