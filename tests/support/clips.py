"""Small clips in TFRecords, for tests of what trains on them."""
import numpy as np

import gluon_action  # noqa: F401  (prepares MXNet)

# isort: split
from gluon_action.data.tfrecords.examples import make_example
from gluon_action.data.tfrecords.framing import RecordWriter
from gluon_action.train.recipes.clip_estimator.config import EstimatorConfig
from gluon_action.train.run.folder.checkpoint import read_checkpoint
from gluon_action.train.run.folder.checkpoint_dir import CheckpointDir

SHAPE = (8, 32, 32, 3)
CLASSES = ('gate down', 'vehicle', 'gate up')


def write_clips(folder, count, *, shape=SHAPE, classes=3, seed=0, labelled=True, single=False, names=None, files=1):
    """Clips in which a class shows as a brighter colour; returns the folder and the labels (count, classes)."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    labels = np.eye(classes, dtype=np.uint8)[rng.integers(0, classes, count)] if single else \
        (rng.random((count, classes)) < 0.4).astype(np.uint8)
    for number in range(files):
        with RecordWriter(folder / f'{number:07d}.tfrecord') as writer:
            for label in labels[number::files]:
                pixels = rng.integers(0, 120, shape, dtype=np.uint8)
                for k in np.flatnonzero(label):
                    pixels[..., k % shape[-1]] += 100
                writer.write(make_example({'feature': pixels.tobytes(),
                                           **({'label': label.tobytes()} if labelled else {})}))
    if names:
        (folder / 'classes.txt').write_text('\n'.join(names) + '\n')
    return folder, labels


def estimator_clips(folder):
    """Folders of records by subset."""
    write_clips(folder / 'train', 7, seed=1, names=CLASSES, files=2)
    write_clips(folder / 'eval', 5, seed=2, names=CLASSES)
    write_clips(folder / 'predict', 3, seed=3, names=CLASSES, labelled=False)
    write_clips(folder / 'single', 6, seed=4, single=True)
    return folder


def small_config(clips, model_dir, **options):
    """The choices of a small run of S3D-G on `estimator_clips`."""
    return EstimatorConfig(**{**dict(
        network='s3dg', mode='train_and_eval', model_dir=str(model_dir), batch_size=2, num_classes=3,
        clip_length=SHAPE[0], frame_height=SHAPE[1], frame_width=SHAPE[2], depth_multiplier=0.05, min_depth=2,
        num_data_workers=0, monitor_steps=3, train_steps=6, learning_rate=0.01,
        train_subset_dir_path=str(clips / 'train'), eval_subset_dir_path=str(clips / 'eval'),
        predict_subset_dir_path=str(clips / 'predict')), **options})


def newest(folder):
    """Step and parameters, as bytes, of the newest checkpoint of a run."""
    step, state = read_checkpoint(CheckpointDir(folder / 'checkpoints').newest())
    return step, {name: array.tobytes() for name, array in state['params'].items()}
