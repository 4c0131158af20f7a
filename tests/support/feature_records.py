"""Small records of features of frames and of videos, with what is in them."""
import numpy as np

from gluon_action.data.tfrecords.features.feature_messages import (
    make_distill_record,
    make_frame_record,
    make_video_record,
)
from gluon_action.data.tfrecords.framing import RecordWriter

FEATURES = (('rgb', 5), ('audio', 3))
MEANS = (('mean_rgb', 5), ('mean_audio', 3))
NUM_CLASSES, MAX_FRAMES = 7, 6
#: Shapes of the small sets; `FeatureRecords(path, **SMALL)`.
SMALL = dict(features=FEATURES, num_classes=NUM_CLASSES, max_frames=MAX_FRAMES)


class Video:
    """A video drawn from its number: ``id``, ``frames`` (uint8 of each feature), ``labels``, ``predictions``."""

    def __init__(self, number):
        rng = np.random.default_rng(number)
        self.id = f'video{number}'
        self.num_frames = 1 + number % (MAX_FRAMES + 2)  # some are longer than what is read
        self.frames = {name: rng.integers(0, 256, (self.num_frames, size), dtype=np.uint8) for name, size in FEATURES}
        self.means = {name: rng.normal(size=size).astype(np.float32) for name, size in MEANS}
        self.labels = rng.choice(NUM_CLASSES, number % 4, replace=False).tolist()
        self.predictions = rng.random(NUM_CLASSES).astype(np.float32)

    def record(self, kind='frame'):
        if kind == 'video':
            return make_video_record(self.id, self.means, self.labels)
        if kind == 'distill':
            return make_distill_record(self.id, self.frames, self.labels, self.predictions)
        return make_frame_record(self.id, self.frames, self.labels)

    def row(self):
        """Features float64 (T, D), by the equation of the data set."""
        stored = np.hstack([self.frames[name] for name, _ in FEATURES]).astype(np.float64)[:MAX_FRAMES]
        row = np.zeros((MAX_FRAMES, stored.shape[1]))
        row[:len(stored)] = stored * 4 / 255 + 4 / 512 - 2
        return row

    def label(self):
        return np.isin(np.arange(NUM_CLASSES), self.labels).astype(np.float32)


def write_records(path, records):
    """Write records (bytes) to a file."""
    with RecordWriter(path) as writer:
        for record in records:
            writer.write(record)
    return path


def write_videos(folder, sizes=(5, 1, 9), kind='frame'):
    """Write files ``train00.tfrecord`` ... of so many videos each; return the videos in order."""
    folder.mkdir(exist_ok=True)
    videos = [Video(number) for number in range(sum(sizes))]
    for number, size in enumerate(sizes):
        start = sum(sizes[:number])
        write_records(folder / f'train{number:02d}.tfrecord',
                      [video.record(kind) for video in videos[start:start + size]])
    return videos
