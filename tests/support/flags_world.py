"""What flags are tried on: data, lists, weights, a tiny network; and the kinds of rows that tell what a flag does."""
import contextlib
import functools
import importlib.util
import json
import os
import shutil
import sys
from contextlib import ExitStack

import mxnet as mx
import numpy as np
import pytest
from PIL import Image
from structure import structure_only
from tiny import NAME, save_tiny
from videos import write_frames, write_guessed
from weights_server import row_of, write_index

from gluon_action import model_zoo
from gluon_action.cli import train_recognizer
from gluon_action.cli.command import run
from gluon_action.compute.engines import engine_of
from gluon_action.errors import UsageError
from gluon_action.train.recipes import config as train_config
from gluon_action.train.recipes import recognizer as trainer
from gluon_action.train.recipes.parts import build_network, build_recipe, open_datasets, prepare_training

RESNET = ('--model', 'resnet18_v1b_ucf101')
TEACHER = ('--teacher', NAME, '--teacher-params', '{weights}')


class World:
    """Data, lists and weights that the options are tried on, and what they make, each made once."""

    def __init__(self, folder, demo):
        self.folder, self.made, self.cleanup = folder, {}, ExitStack()
        self.videos, self.train = demo.video_dir, [line.split() for line in demo.train_list.read_text().splitlines()]
        self.val = [line.split() for line in demo.val_list.read_text().splitlines()]
        self.paths = {'videos': str(demo.video_dir), 'closed': 'http://127.0.0.1:9/', 'tmp': str(folder)}
        self._write_lists()
        self.paths['weights'], self.paths['other'] = (str(save_tiny(folder, 8, seed)[0]) for seed in (1, 2))
        self.published = [save_tiny(folder, 101, seed) for seed in (3, 4)]
        (folder / 'models').mkdir()
        for path, sha1 in self.published:
            shutil.copy(path, folder / 'models' / f'{NAME}-{sha1[:8]}.params')
        self.paths['tag'] = self.published[1][1][:8]
        names = [f'{NAME}-{sha1[:8]}' for _, sha1 in self.published]
        self.index = write_index(folder / 'index.json', [
            row_of(NAME, sha1[:8], b'', f'mxnet://{name}.zip', name=f'{name}.params', digest=f'sha1:{sha1}', top1=50.)
            for name, (_, sha1) in zip(names, self.published)])
        self._write_indexes()

    def _write_indexes(self):
        """Other weights of the network in an index of their own; for each command also one without a digest."""
        own, _ = save_tiny(self.folder, 101, 5)
        known = row_of(NAME, 'known', self.published[0][0].read_bytes(), self.published[0][0].name)
        self.paths['own_index'] = str(write_index(
            self.folder / 'own_index.json', [row_of(NAME, 'own', own.read_bytes(), own.name)]))
        for command in ('train', 'test', 'export', 'predict', 'features', 'serve'):
            row = row_of(NAME, 'open', b'', own.name, name=f'open_{command}.params', digest='')
            path = write_index(self.folder / f'open_{command}.json', [row, known])
            self.paths[f'open_{command}'] = str(path)

    def _write_lists(self):
        elsewhere = self.folder / 'elsewhere'
        elsewhere.mkdir()
        for place in self.videos.iterdir():
            os.symlink(place, elsewhere / place.name)
        (elsewhere / 'garbage.mp4').write_bytes(b'garbage' * 99)
        both = self.folder / 'both'
        (both / 'v').mkdir(parents=True)
        shutil.copy(self.videos / self.train[0][0], both / 'v.mp4')
        for number in range(1, 13):
            Image.new('RGB', (48, 40), (20 * number, 0, 0)).save(both / 'v' / f'img_{number:05d}.jpg')
        train, val = self.train[::3], self.val[::2]
        self._list('train', train)
        self._list('val', val)
        self._list('two', train[2:4])
        self._list('uneven', [(path, frames, 0 if number else 1) for number, (path, frames, _) in enumerate(train)])
        self._list('from1', [(path, frames, int(label) + 1) for path, frames, label in train])
        self._list('multi', [(path, int(label) // 2, label) for path, _, label in train])
        self._list('bad', [*train, ('garbage.mp4', 5, 1)])
        self._list('both', [('v', 12, 0)])
        self._list('accents', [('é.mp4', 5, 0)])
        self._list('names', [(f'class{number}',) for number in range(8)])
        self.paths.update(elsewhere=str(elsewhere), both_dir=str(both))

    def _list(self, name, rows):
        path = self.folder / f'{name}.txt'
        path.write_text('\n'.join(' '.join(map(str, row)) for row in rows), encoding='utf-8')
        self.paths[name] = str(path)

    def once(self, function, *key):
        made = (function, *key)
        if made not in self.made:
            self.made[made] = function(self, *key)
        return self.made[made]

    def new_folder(self):
        path = self.folder / f'run{len(list(self.folder.glob("run*")))}'
        path.mkdir()
        return path

    def train_argv(self, *flags):
        base = ('--model', NAME, '--dataset', 'custom', '--data-dir', '{videos}', '--train-list', '{train}',
                '--val-list', '{val}', '--input-size', '32', '-j', '0', '--no-pretrained-base', '--batch-size', '4',
                '--num-epochs', '2', '--save-dir', '{tmp}/never')
        return [str(item).format(**self.paths) for item in (*base, *flags)]

    def test_argv(self, *flags):
        base = ('--model', NAME, '--dataset', 'custom', '--data-dir', '{videos}', '--val-list', '{val}',
                '--resume-params', '{weights}', '--input-size', '32', '--new-height', '48', '--new-width', '64',
                '-j', '0', '--save-dir', '{tmp}/never')
        return [str(item).format(**self.paths) for item in (*base, *flags)]


# What a training command makes of its flags.

def configured(world, *flags):
    config = train_recognizer.config_from(train_recognizer.parse_args(world.train_argv(*flags)))
    train_config.check_config(config, model_zoo.model_card(config.model))
    return config


def datasets(world, *flags):
    """The training and the validation set."""
    config = configured(world, *flags)
    return open_datasets(config, model_zoo.model_card(config.model))


def fresh(world, *flags):
    """A recipe of its own, for what trains it."""
    config = configured(world, *flags)
    contexts = engine_of(config).contexts()
    return build_recipe(config, model_zoo.model_card(config.model), contexts, world.cleanup)


def recipe(world, *flags):
    """A recipe that is looked at only."""
    return world.once(fresh, *flags)


def batch_of(world, *flags):
    return next(recipe(world, *flags).train_loader.epoch(0))


def learnt(world, *flags):
    """The first layers and the head after two steps."""
    made = fresh(world, *flags)
    for batch in made.train_loader.epoch(0):
        made.loop.step(batch)
    return np.concatenate([array.ravel() for array in made.loop.learner.parameters().values()])


def trained(world, *flags):
    """The folder that a run leaves."""
    folder = world.new_folder()
    trainer.train_recognizer(configured(world, *flags, '--save-dir', str(folder)))
    return folder


def ran(world, *flags):
    return world.once(trained, *flags)


def records(folder, kind='epoch'):
    lines = [json.loads(line) for line in (folder / 'metrics.jsonl').read_text().splitlines()]
    return [line for line in lines if line['kind'] == kind]


def train_here(world, *flags):
    return run(train_recognizer.parse_args, train_recognizer.main, world.train_argv(*flags))


def drawn(world, *flags):
    """Three videos, each as four epochs draw it."""
    videos = datasets(world, *flags)[0]
    return np.stack([videos.load(index, epoch=epoch)[0] for index in range(3) for epoch in range(4)])


def frames(world, *flags):
    videos = datasets(world, *flags)[0]
    return np.stack([videos.load_frames(index) for index in range(8)])


def first_clip(world, *flags):
    return datasets(world, *flags)[0].load(0)[0].shape


def validated_clip(world, *flags):
    return datasets(world, *flags)[1].load(0)[0]


def label(world, *flags):
    return datasets(world, *flags)[0].load(0)[1]


def train_paths(world, *flags):
    return [sample.path for sample in datasets(world, *flags)[0].samples]


def val_paths(world, *flags):
    return [sample.path for sample in datasets(world, *flags)[1].samples]


def opened_by(world, *flags):
    from gluon_action.data.reading.video_reader import VideoReader
    videos = datasets(world, *flags)[0]
    with VideoReader(videos.samples[0].path, **videos.reading) as reader:
        return reader.decoder


def deadlines(world, *flags):
    made = recipe(world, *flags)
    return [made.train_loader.timeout, made.val_loader.timeout, made.train_loader.dataset.timeout]


def processes(world, *flags):
    made = recipe(world, *flags)
    pools = [loader._pool for loader in (made.train_loader, made.val_loader)]
    return [0 if pool is None else len(pool.pids) for pool in pools]


def named_otherwise(world):
    """Options of a list of one folder of frames whose names are f_1.png and so on."""
    if 'named' not in world.made:
        world.made['named'] = folder = world.folder / 'named'
        write_frames(folder / 'w', range(1, 13), pattern='f_%d.png', size=(48, 40))
        (folder / 'list.txt').write_text('w 12 0\n')
    folder = str(world.made['named'])
    return ('--data-dir', folder, '--train-list', folder + '/list.txt', '--val-list', folder + '/list.txt')


def damaged_video(world):
    """Options of a list of one video of which FFmpeg guesses frames."""
    if 'damaged' not in world.made:
        world.made['damaged'] = folder = world.folder / 'damaged'
        folder.mkdir()
        write_guessed(folder / 'a.wmv')
        (folder / 'list.txt').write_text('a.wmv 60 0\n')
    folder = str(world.made['damaged'])
    return ('--data-dir', folder, '--train-list', folder + '/list.txt', '--val-list', folder + '/list.txt')


def read_ahead(world, *flags):
    return recipe(world, *flags).train_loader.prefetch


def layers(world, *flags):
    """Kinds of the layers of the network, which is built without values."""
    config, found = configured(world, *flags), []
    with structure_only():
        net = build_network(prepare_training(config, model_zoo.model_card(config.model)), 8, [mx.cpu()])
    net.apply(lambda block: found.append(type(block).__name__))
    return found


def scored(world, *flags):
    """Scores of two videos that are not trained on."""
    made = recipe(world, *flags)
    rows = 2 * made.loop.learner.rows_per_sample
    x = mx.nd.array(np.random.default_rng(0).normal(size=(rows, 3, 32, 32)))
    return made.loop.learner.net(x).asnumpy()


def body(world, *flags):
    """The weights of the first layer that has some."""
    parameters = recipe(world, *flags).loop.learner.parameters()
    return next(array for name, array in parameters.items() if 'weight' in name)


def dropped(net, head, x, passes=12):
    """The share of its input that a layer misses in training and not always: the rate of the dropout before it."""
    seen = []
    net.hybridize(False)  # a compiled graph calls no hooks
    handle = head.register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0].asnumpy()))
    with mx.autograd.train_mode():
        for _ in range(passes):
            net(x)
    handle.detach()
    seen = np.stack(seen)
    return (seen == 0)[:, (seen != 0).any(axis=0)].mean()


def stepped(loop, loader, steps=1):
    """All parameters before and after so many steps on the first batch, by name."""
    batch, found = next(loader.epoch(0)), []
    for count in (0, steps):
        for _ in range(count):
            loop.step(batch)
        found.append(loop.learner.parameters())
    return found


def moved(world, *flags):
    """Names of what a step changes."""
    made = fresh(world, *flags)
    before, after = stepped(made.loop, made.train_loader)
    return {name for name in before if not same(before[name], after[name])}


def moved_norms(world, *flags):
    return sorted(name for name in moved(world, *flags) if name.endswith(('gamma', 'beta', 'running_mean')))


def first_statistics(world, *flags):
    """The running mean of the first batch normalisation after a step; it begins at 0."""
    made = fresh(world, *flags)
    return next(array for name, array in stepped(made.loop, made.train_loader)[1].items()
                if name.endswith('running_mean'))


def learning(world, *flags):
    return [name for name in recipe(world, *flags).loop.learner.names if 'gamma' in name]


def gammas_at_0(world, *flags):
    found = recipe(world, *flags).loop.learner.parameters()
    return [name for name, array in found.items() if 'gamma' in name and not array.any()]


def rates(world, *flags):
    made = recipe(world, '--batch-size', '2', *flags)
    assert len(made.train_loader) == 4
    return [round(made.loop.schedule(update), 8) for update in range(1, 9)]


def added_up_by(world, *flags):
    made = fresh(world, *flags)
    made.loop.step(next(made.train_loader.epoch(0)))
    return made.loop.learner.trainer._kvstore.type


def updates(world, *flags):
    made = fresh(world, *flags)
    made.loop.step(next(made.train_loader.epoch(0)))
    return made.loop.progress.update


def mixed_late(world, *flags):
    mixup = recipe(world, *flags).loop.mixup
    data = np.arange(4, dtype=np.float32).reshape(4, 1)
    return mixup(data, np.arange(4), np.random.default_rng(1), epoch=1)[0]


@contextlib.contextmanager
def without_pytorch():
    """PyTorch is not installed within the block."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, 'torch', None)
        yield


NO_PYTORCH = r'--engine torch: PyTorch is not installed; pip install "gluon_action\[torch\]"'


def other_engine(look):
    """``--engine torch`` gives the loop that `look` makes a learner of PyTorch, or says how to install that."""
    @seen('--engine', 'torch')
    def row(world, output, *flags):
        with without_pytorch(), pytest.raises(UsageError, match=NO_PYTORCH):
            look(world, *flags)
        kinds = [type(look(world, *given).learner).__name__
                 for given in ((), flags if importlib.util.find_spec('torch') else ())]
        assert kinds[0] == 'GluonLearner' and kinds[1] in ('TorchLearner', kinds[0])
        assert importlib.util.find_spec('torch') is None or kinds[1] == 'TorchLearner'
    return row


# Kinds of rows. Each is called with the world and pytest's capture of output.

ANY = object()


def same(a, b):
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.shape(a) == np.shape(b) and bool(np.all(np.asarray(a) == np.asarray(b)))
    return a == b


def changes(look, *flags, given=(), to=ANY):
    """What `look` finds differs when `flags` are added to `given`, and is `to`."""
    def row(world, output):
        before, after = world.once(look, *given), look(world, *given, *flags)
        assert not same(before, after), f'{flags} changes nothing: {after}'
        if to is not ANY:
            assert same(after, to), after
    row.flags = flags
    return row


def each(*rows):
    """All of these rows, for a flag whose values do different things."""
    def row(world, output):
        for one in rows:
            one(world, output)
    row.flags = rows[0].flags
    return row


def refused(*flags, because, config=None, error=UsageError):
    """Using the flag is an error that names it and says why."""
    def row(world, output):
        with pytest.raises(error) as caught:
            (config or configured)(world, *flags)
        assert because in str(caught.value), caught.value
        assert any(flag in str(caught.value) for flag in flags)
    row.flags = flags
    return row


def seen(*flags):
    """The row is the function: what `flags` do takes more than one look."""
    def decorate(function):
        @functools.wraps(function)
        def row(world, output):
            return function(world, output, *flags)
        row.flags = flags
        return row
    return decorate


def traceback_row(argv):
    @seen('--debug')
    def row(world, output, *flags):
        for extra in ((), flags):
            module, *rest = argv(world)
            assert run(module.parse_args, module.main, [*rest, *extra]) != 0
            assert ('Traceback' in output.readouterr().err) == bool(extra)
    return row


def import_row(argv):
    """A module is imported before the command looks at anything."""
    @seen('--import', '{tmp}/own_module.py')
    def row(world, output, flag, path):
        path = path.format(**world.paths)
        with open(path, 'w') as file:
            file.write('IMPORTED = True\n')
        module, *rest = argv(world)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, 'path', list(sys.path))
            for extra in ((), (flag, path)):
                run(module.parse_args, module.main, [*rest, *extra])
                assert ('own_module' in sys.modules) == bool(extra)
            assert sys.modules.pop('own_module').IMPORTED
    return row


@contextlib.contextmanager
def opened_by_decoders():
    """Names of the decoders that files are opened with in this process, in the order in which they are tried."""
    from gluon_action.data.reading import video_reader
    tried = []

    def watched(name, kind):
        return lambda *args, **kwargs: (tried.append(name), kind(*args, **kwargs))[1]

    with pytest.MonkeyPatch.context() as patch:
        for name, kind in tuple(video_reader._FILE_DECODERS.items()):
            patch.setitem(video_reader._FILE_DECODERS, name, watched(name, kind))
        yield tried
