"""Small runs on generated features of frames, for tests of training and evaluation."""
import functools
import json

from gluon_action.data.demo.frame_features import make_feature_records
from gluon_action.train.hooks import SaveCheckpoints
from gluon_action.train.recipes.frame_features.config import FeatureTraining
from gluon_action.train.recipes.frame_features.training import FeatureRecipe, train
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir

SIZES = (('rgb', 8), ('audio', 4))
CLASSES = 6
FRAMES = 12
SMALL = {'feature_names': 'rgb, audio', 'feature_sizes': '8,4', 'frame_features': True, 'num_classes': CLASSES,
         'max_frames': FRAMES, 'model': 'FrameLevelLogisticModel', 'batch_size': 8, 'num_readers': 0,
         'base_learning_rate': 0.05, 'num_epochs': 2}


def records(folder, videos=28, partition='train', **settings):
    """Pattern of generated records."""
    return make_feature_records(folder, videos=videos, partition=partition, **{
        'classes': CLASSES, 'order_classes': 2, 'sizes': SIZES, 'lengths': (1, FRAMES + 3), **settings}).pattern


def options(pattern, folder, **more):
    """Options of a small run."""
    return {**SMALL, 'train_data_pattern': str(pattern), 'train_dir': str(folder), **more}


def config_of(pattern, folder, **more):
    return FeatureTraining(**options(pattern, folder, **more))


def trained(pattern, folder, **more):
    """How a small run ends; what is not said of it here was not asked for."""
    given = options(pattern, folder, **more)
    return train(FeatureTraining(**given), given)


class Stopped(Exception):
    """What stops a run from inside."""


def stopping(step):
    """A recipe whose run is stopped, as by a crash, when it has saved this step or a later one."""
    class Stopping(FeatureRecipe):
        def hooks(self, loop, data, folder):
            hooks = super().hooks(loop, data, folder)
            saving = next(hook for hook in hooks if isinstance(hook, SaveCheckpoints))
            save = saving._save

            @functools.wraps(save)
            def and_stop(loop):
                save(loop)
                if loop.progress.step >= step:
                    raise Stopped
            saving._save = and_stop
            return hooks
    return Stopping


def state_of(folder):
    """What the newest checkpoint of a run holds."""
    return CheckpointDir(folder / 'checkpoints').load_latest().state


def lines_of(folder, name='metrics.jsonl'):
    """The objects of a file with one on each line."""
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]
