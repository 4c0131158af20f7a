"""How fast records of YouTube-8M become batches, next to tf.data, and tags; and whether memory stays flat.

Both read the same files with two workers, in turns: features of frames dequantized and padded to 300, labels as zeros
and ones, batches of 32. Tags are those of logistic regression on the mean of the frames, as a CSV, next to tf.data that
reads the frames only. TensorFlow has an environment of its own (``--tensorflow-python``; `make bench` makes it).
Prints a table, then one JSON object a row.
"""
from __future__ import annotations

import argparse
import glob
import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from turns import Server, print_rows, serve, take_turns

BATCH, WORKERS, MAX_FRAMES, NUM_CLASSES = 32, 2, 300, 3862
FRAMES, MEANS = (('rgb', 1024), ('audio', 128)), (('mean_rgb', 1024), ('mean_audio', 128))
ALLOWED_GROWTH = 50  # MB


def main() -> None:
    args = parse_args()
    if args.serve:
        framework, folder = args.serve
        serve(our_jobs(folder) if framework == 'ours' else tensorflow_jobs(folder))
        return
    with tempfile.TemporaryDirectory() as folder:
        make_records(Path(folder), args.videos)
        print_rows(rows(folder, args))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--videos', type=int, default=1000, help='of 120 to 300 frames, 250 kB each')
    parser.add_argument('--rounds', type=int, default=7, help='turns of each; the median counts')
    parser.add_argument('--memory-records', type=int, default=100_000, help='to read while memory is watched')
    parser.add_argument('--tensorflow-python', default='.venv-tensorflow/bin/python',
                        help='interpreter that has TensorFlow')
    parser.add_argument('--serve', nargs=2, metavar=('FRAMEWORK', 'FOLDER'), help=argparse.SUPPRESS)
    return parser.parse_args()


def make_records(folder: Path, videos: int) -> None:
    """Write ``frame/`` and ``video/``, 8 files of records each."""
    from gluon_action.data.tfrecords.features.feature_messages import make_frame_record, make_video_record
    from gluon_action.data.tfrecords.framing import RecordWriter
    rng = np.random.default_rng(0)
    for kind in ('frame', 'video'):
        (folder / kind).mkdir()
        for number, part in enumerate(np.array_split(np.arange(videos), 8)):
            with RecordWriter(folder / kind / f'train{number:02d}.tfrecord') as writer:
                for index in part:
                    labels = rng.choice(NUM_CLASSES, 3, replace=False)
                    if kind == 'video':
                        features = {name: rng.normal(size=size) for name, size in MEANS}
                        writer.write(make_video_record(f'{index:04d}', features, labels))
                        continue
                    length = rng.integers(120, 301)
                    features = {name: rng.integers(0, 256, (length, size), dtype=np.uint8) for name, size in FRAMES}
                    writer.write(make_frame_record(f'{index:04d}', features, labels))


def rows(folder: str, args: argparse.Namespace):
    """Yield the rows of the table."""
    yield memory(folder, args)  # first, while no other loader's processes are about
    with Server(sys.executable, __file__, 'ours', folder) as ours, \
            Server(args.tensorflow_python, __file__, 'tensorflow', folder) as peer:
        for kind, of, label, target in (
                ('frame', 'frame', 'records of frames over tf.data: videos/s', 1.0),
                ('video', 'video', 'records of videos over tf.data: videos/s', None),
                ('tags', 'frame', 'tags (CSV) over tf.data reading: videos/s', 0.8)):
            turns = take_turns([(ours, kind), (peer, f'tensorflow {of}')], args.rounds, 1)
            mine, theirs = turns[kind], turns[f'tensorflow {of}']
            yield {'name': label, 'ours': args.videos / statistics.median(mine),
                   'peer': args.videos / statistics.median(theirs), 'target': target,
                   'ratio': statistics.median(other / own for own, other in zip(mine, theirs))}


def memory(folder: str, args: argparse.Namespace) -> dict:
    """MB that this process and its workers grow by between the first twentieth of the records and the last."""
    from loader import resident
    sizes, done = [], 0
    with our_loader(folder, 'frame') as loader:
        for epoch in range(-(-args.memory_records // args.videos)):
            for batch in loader.epoch(epoch):
                done += len(batch.data)
            del batch
            if done * 20 >= args.memory_records:
                sizes.append(resident() / 1e6)
    grown = max(sizes) - sizes[0]
    return {'name': f'MB after {done} records of frames over allowed', 'ours': grown, 'peer': ALLOWED_GROWTH,
            'ratio': grown / ALLOWED_GROWTH, 'target': 1.0}


def our_loader(folder: str, kind: str):
    from gluon_action.data import VideoLoader
    from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
    records = FeatureRecords(os.path.join(folder, kind), features=FRAMES if kind == 'frame' else MEANS,
                             num_classes=NUM_CLASSES, max_frames=MAX_FRAMES, frame_level=kind == 'frame')
    return VideoLoader(records, BATCH, shuffle=True, num_workers=WORKERS)


def our_jobs(folder: str) -> dict:
    loaders = {kind: our_loader(folder, kind) for kind in ('frame', 'video')}

    def read(kind: str, epochs: int) -> None:
        for epoch in range(epochs):
            for batch in loaders[kind].epoch(epoch):
                assert not batch.failures
    return {**{kind: lambda epochs, kind=kind: read(kind, epochs) for kind in loaders}, 'tags': our_tags(folder)}


def our_tags(folder: str):
    """Return what writes the tags of all videos."""
    from gluon_action import engine
    engine.set_threads()
    from gluon_action.deploy.feature_scoring.inference import Inference, infer
    from gluon_action.deploy.feature_scoring.scoring import Scoring
    from gluon_action.feature_architecture import Architecture
    from gluon_action.model_zoo.frame_features import build
    from gluon_action.model_zoo.frame_features.stored.writing import write_stored
    network = Architecture(model='FrameLevelLogisticModel', feature_names='rgb,audio', feature_sizes='1024,128',
                           frame_features=True, num_classes=NUM_CLASSES, max_frames=MAX_FRAMES)
    parameters = build(network)._collect_params_with_prefix()
    model = write_stored(Path(folder) / 'model' / 'inference_model', [
        (network, {key: parameter.data().asnumpy() for key, parameter in parameters.items()})])
    asked = Inference(Scoring(str(model), batch_size=BATCH, num_readers=WORKERS), os.path.join(folder, 'frame'),
                      os.path.join(folder, 'tags.csv'))

    def write(epochs: int) -> None:
        for _ in range(epochs):
            infer(asked, overwrite=True)
    return write


def tensorflow_jobs(folder: str) -> dict:
    """Record by record: to parse whole batches, ``parse_sequence_example``, was slower."""
    os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
    import tensorflow as tf
    about = {'id': tf.io.FixedLenFeature([], tf.string), 'labels': tf.io.VarLenFeature(tf.int64)}

    def frames_of(record):
        context, lists = tf.io.parse_single_sequence_example(
            record, about, {name: tf.io.FixedLenSequenceFeature([], tf.string) for name, _ in FRAMES})
        stored = tf.concat([tf.reshape(tf.io.decode_raw(lists[name], tf.uint8), [-1, size])
                            for name, size in FRAMES], 1)[:MAX_FRAMES]
        features = tf.cast(stored, tf.float32) * (4 / 255) + (4 / 512 - 2)
        features = tf.pad(features, [[0, MAX_FRAMES - tf.shape(features)[0]], [0, 0]])
        return context['id'], features, label_of(context)

    def video_of(record):
        parsed = tf.io.parse_single_example(
            record, {**about, **{name: tf.io.FixedLenFeature([size], tf.float32) for name, size in MEANS}})
        return parsed['id'], tf.concat([parsed[name] for name, _ in MEANS], 0), label_of(parsed)

    def label_of(parsed):
        labels = parsed['labels'].values[:, None]
        return tf.scatter_nd(labels, tf.ones(tf.shape(labels)[0]), [NUM_CLASSES])

    def read(kind: str, epochs: int) -> None:
        for _ in range(epochs):
            files = tf.data.TFRecordDataset(sorted(glob.glob(os.path.join(folder, kind, '*.tfrecord'))))
            parse = frames_of if kind == 'frame' else video_of
            for _ in files.map(parse, num_parallel_calls=WORKERS).batch(BATCH).prefetch(2):
                pass
    return {f'tensorflow {kind}': lambda epochs, kind=kind: read(kind, epochs) for kind in ('frame', 'video')}


if __name__ == '__main__':
    main()
