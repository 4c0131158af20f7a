"""The options that decide which frames a network sees, shared by every configuration that reads labelled videos."""
from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

from ..errors import called
from ..options import option
from .by_name import DEMOS, PRESETS, open_dataset
from .lists.classes.class_files import read_class_names
from .lists.formats import FORMATS
from .preprocess import read_size, short_side
from .reading.clip_reader import FramePlan
from .reading.media.damage import ON_DAMAGE
from .reading.sampling import CLIP_SAMPLINGS

#: Data sets that --dataset knows. The demo ones are generated, the others are looked for under --data-dir.
DATASETS = (*PRESETS, 'custom', *DEMOS)
#: Kinds of augmentation, with GluonCV's numbers.
DATA_AUGS = ('v1', 'v2', 'v3', 'v4')

_data = partial(option, group='data')


@dataclass
class VideoOptions:
    """Lists, clips, sizes, crops and decoding, under the names of the flags, whose meanings are GluonCV's.

    Training and testing inherit from this and change defaults. How frames become what the network takes
    (`gluon_action.data.preprocess`) follows from these options and the model's card.
    """

    dataset: str = _data(
        'ucf101', 'data set; those whose names start with demo are generated where --data-dir says', choices=DATASETS,
        common=True)
    data_dir: str | None = _data(
        None, "folder that the list's paths start from; default ~/.mxnet/datasets/ucf101/rawframes and the like",
        common=True)
    list_format: str = _data('auto', 'format of the list; auto looks at it', choices=('auto', *FORMATS))
    list_encoding: str | None = _data(
        None, 'how the lists are encoded (gbk, utf-16, ...); by default as their first bytes say, else UTF-8',
        metavar='NAME')
    class_names: str | None = _data(
        None, 'names of the classes in the order of their numbers, one a line, or JSON; by default those of a file '
        'beside the list (class_names.json, class_names.txt, classes.txt, category.txt), or of the data set',
        metavar='FILE')
    label_base: int | None = _data(
        None, 'number of the first class in the list; by default 0, or what the format fixes', choices=(0, 1))
    multi_label: bool = _data(False, 'a video may have several labels')
    num_classes: int | None = _data(
        None, "number of classes; by default the data set's, or the list's largest label + 1", least=1)
    num_segments: int = _data(1, 'segments a video is divided into (TSN)', least=1, common=True)
    new_length: int | None = _data(
        None, 'frames a clip; by default what the weights were trained with, and 1 without weights', least=1,
        common=True)
    new_step: int | None = _data(
        None, 'stride between the frames of a clip; by default as of --new-length', least=1)
    new_height: int = _data(
        0, 'height frames are resized to before augmentation, 0 for none; also the short side of --data-aug v2 and v4 '
        'and the smallest of v3', least=0)
    new_width: int = _data(
        0, 'width frames are resized to before augmentation, 0 for none; also the largest short side of --data-aug v3',
        least=0)
    input_size: int | None = _data(
        None, 'crop that the network sees, in pixels; by default what the weights were trained with, and 224 without '
        'weights', least=1)
    data_aug: str = _data(
        'v1', 'augmentation: v1 multi-scale crop; v2 the same after resizing the short side; v3 random short side and '
        'crop; v4 random resized crop', choices=DATA_AUGS)
    video_loader: bool = _data(
        False, 'entries of the list are video files (a missing extension is added) and nothing else; by default each '
        'may be a file or a folder of frames')
    use_decord: bool = _data(False, 'the same as --decoder decord')
    decoder: str = _data(
        'auto', 'who reads video files; auto takes PyAV, and decord for what PyAV has no decoder for; decord leaves to '
        'PyAV what it shows wrongly',
        choices=('auto', 'decord', 'pyav'))
    on_damage: str = _data(
        'accept', 'frames that are damaged, so that the decoder guesses parts of them: accept them with a warning, '
        'skip the video as one that cannot be read, or raise an error and stop', choices=ON_DAMAGE)
    name_pattern: str | None = _data(
        None, 'names of the pictures in a folder of frames, with %%05d or the like for the number; by default those of '
        'the data set, img_%%05d.jpg for your own. Those of flow hold %%s for the axis too', metavar='NAMES')
    decode_timeout: float = _data(
        60., 'a video that takes longer to read has failed; 0 for no limit', metavar='SECONDS', least=0)
    frame_tables: bool = _data(
        False, 'keep the tables of frames of long videos beside their list, in LIST.frames: the next run finds a part '
        'of a video without reading all of it first')
    num_workers: int = _data(
        4, 'processes that read videos; results do not depend on it', '-j', '--num-data-workers', least=0, common=True)
    prefetch_ratio: float = _data(2., 'batches (in a test: videos) to prefetch, times the workers', least=0)
    slowfast: bool = _data(False, 'sample frames for a SlowFast network')
    slow_temporal_stride: int | None = _data(
        None, 'stride of the slow pathway; by default as of --new-length, and 16 without weights', least=1)
    fast_temporal_stride: int | None = _data(
        None, 'stride of the fast pathway; by default as of --new-length, and 2 without weights', least=1)
    clip_sampling: str | None = _data(
        None, 'where clips lie: consecutive takes one, of frames --new-step apart, from each of '
        '--num-segments equal parts of the video; dense takes as many from anywhere in it, in a test evenly from its '
        'beginning to its end (ten clips by three crops: --num-segments 10 --three-crop); spread takes one clip, a '
        'frame from each of --new-length equal parts, in training a random one and otherwise its middle. By '
        'default as of --new-length, and consecutive without weights',
        choices=CLIP_SAMPLINGS)
    val_list: str | None = _data(None, 'list of validation videos', common=True)
    val_data_dir: str | None = _data(None, 'folder of the validation list; by default --data-dir')
    train_list: str | None = _data(None, 'training videos: a list, or a folder of one folder a class', common=True)
    crop_ratio: float = _data(
        0.875, 'validation resizes the short side to input size / crop ratio, unless --new-height says')
    num_crop: int = _data(1, 'crops of a validation frame', choices=(1, 3, 10))

    #: Options that the weights decide where nobody else does, and their values where there are no weights: GluonCV's.
    UNSAID: ClassVar[dict[str, Any]] = {'new_length': 1, 'new_step': 1, 'input_size': 224, 'slow_temporal_stride': 16,
                                        'fast_temporal_stride': 2, 'clip_sampling': 'consecutive'}

    @property
    def unsaid(self) -> list[str]:
        """Those of `UNSAID` that nobody has decided yet."""
        return [name for name in self.UNSAID if getattr(self, name) is None]

    def settled(self, said: Mapping[str, Any] = MappingProxyType({})):
        """Return these options with every one of `UNSAID` decided.

        Parameters
        ----------
        said : mapping
            What the weights say; options that were given come first, GluonCV's defaults last.
        """
        unsaid = {name: said.get(name) or self.UNSAID[name] for name in self.unsaid}
        return dataclasses.replace(self, **unsaid) if unsaid else self

    @property
    def segments(self) -> int:
        """Segments a video, S."""
        return self.num_segments

    @property
    def crops(self) -> int:
        """Crops of a frame in validation and testing: 1, 3 or 10."""
        return self.num_crop

    @property
    def frames_per_clip(self) -> int:
        """T, frames of a clip as the network takes it, of both pathways of SlowFast."""
        return self.frame_plan().frames_per_clip

    @property
    def read_size(self) -> tuple[int, int] | None:
        """Height and width that frames are resized to while they are read; None where they keep their size."""
        options = self.settled()
        return read_size(options.data_aug, options.new_height, options.new_width)

    @property
    def short_side(self) -> int:
        """Short side that validation and testing rescale frames to before cropping; 0 leaves them as they are read."""
        options = self.settled()
        return short_side(options.input_size, options.crops, data_aug=options.data_aug, new_height=options.new_height,
                          new_width=options.new_width, crop_ratio=options.crop_ratio)

    @property
    def timeout(self) -> float | None:
        """Seconds that reading one video may take; None for any time."""
        return self.decode_timeout or None

    @property
    def prefetch(self) -> int:
        """Batches, in a test videos, that are prefetched."""
        return max(1, round(self.prefetch_ratio * self.num_workers))

    def frame_plan(self, mode: str = 'val') -> FramePlan:
        """Return which frames of a video are taken.

        Parameters
        ----------
        mode : {'train', 'val', 'test'}
            As in `gluon_action.data.reading.sampling.segment_starts`.
        """
        options = self.settled()
        return FramePlan(mode, options.segments, options.new_length, options.new_step, slowfast=options.slowfast,
                         slow_stride=options.slow_temporal_stride, fast_stride=options.fast_temporal_stride,
                         clip_sampling=options.clip_sampling)

    @called()
    def open_videos(self, *, train: bool, test_mode: bool = False, **more):
        """Open the training or the validation list.

        Parameters
        ----------
        train : bool
        test_mode : bool
            Take frames as in testing, of whichever list.
        **more
            What the options do not say: ``modality``, ``transform``, ``seed``, ``classes`` and further arguments of
            `VideoClsCustom`.

        Returns
        -------
        gluon_action.data.video_dataset.VideoClsCustom

        Raises
        ------
        UsageError
            When the data set is unknown or its list is not given.
        AnnotationError
            When the list cannot be read.
        """
        options = self.settled()
        reading = dict(
            plan=options.frame_plan('test' if test_mode else 'train' if train else 'val'), data_aug=options.data_aug,
            new_height=options.new_height, new_width=options.new_width, target_height=options.input_size,
            target_width=options.input_size, video_loader=options.video_loader, use_decord=options.use_decord,
            decoder=options.decoder, timeout=options.timeout, list_format=options.list_format,
            label_base=options.label_base, multi_label=options.multi_label, num_classes=options.num_classes,
            on_damage=options.on_damage, name_pattern=options.name_pattern, frame_tables=options.frame_tables,
            list_encoding=options.list_encoding)
        if options.class_names:
            more['classes'] = read_class_names(options.class_names, options.list_encoding)
        return open_dataset(
            options.dataset, train=train, test_mode=test_mode,
            setting=options.train_list if train else options.val_list,
            data_dir=options.data_dir if train else options.val_data_dir or options.data_dir, **{**reading, **more})
