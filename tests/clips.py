"""Small clips in TFRecords, for tests of what trains on them."""
import numpy as np

from gluon_action.data.tfrecord import RecordWriter, make_example

SHAPE = (8, 32, 32, 3)


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
