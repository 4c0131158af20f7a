"""The data set of labelled videos: a list, which frames to take, and a transform; every preset is one of these."""
from __future__ import annotations

import copy
import mmap
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import mxnet as mx
import numpy as np
from mxnet.gluon.data import Dataset

from ..errors import UsageError, VideoReadError, called
from .by_name import default_root
from .lists.annotations import Sample, VideoList, read_annotations
from .lists.classes.class_files import ClassNames
from .lists.published.epic import NAME_PATTERN, is_epic
from .loading.workers import WorkerError, call_with_deadline
from .preprocess import read_size
from .reading.clip_reader import FramePlan, read_clip
from .reading.media.damage import check_on_damage
from .reading.media.known_tables import tables_beside
from .reading.sampling import sample_rng
from .reading.video_reader import MODALITIES
from .transforms.scaling import Scaling
from .transforms.video import drawing_from
from .video_options import DATA_AUGS


@dataclass(frozen=True)
class Preset:
    """What sets a published data set apart: where GluonCV's preparation scripts put it, and its classes.

    Paths start from ``$MXNET_HOME`` (``~/.mxnet``) ``/datasets``. `classes` is None where the lists name them. `sided`
    is whether a mirrored video has another class.
    """

    classes: Sequence[str] | None
    train_root: str
    val_root: str
    train_list: str
    val_list: str
    name_pattern: str = 'img_%05d.jpg'
    sided: bool = False

    def root(self, train: bool, modality: str = 'rgb') -> str:
        """Folder of the training or validation videos, or of the optical flow of both."""
        if modality == 'flow':
            return default_root(self.train_root.split('/')[0] + '/flow')
        return default_root(self.train_root if train else self.val_root)

    def setting(self, train: bool) -> str:
        """The training or validation list."""
        return default_root(self.train_list if train else self.val_list)


class VideoClsCustom(Dataset):
    """Videos with their classes, from any list that `read_annotations` understands.

    The arguments before the ``*`` are those of ``gluoncv.data.VideoClsCustom``, in its order; differences are noted.

    Parameters
    ----------
    root : str
        Folder that the list's paths start from; with `modality` 'flow' the folder that ``scripts/extract_flow.py``
        wrote to, where the flow of ``a/b.mp4`` is the folder ``a/b``. The presets have a default.
    setting : str
        The list: a file in any of the formats of `read_annotations`, or a folder with one folder a class. The presets
        have a default, the training or the validation list according to `train` (GluonCV: always the training list).
    train : bool
        Random segments; otherwise segment centres.
    test_mode : bool
        Segments as in testing, whatever `train` is.
    name_pattern : str
        Names of the images in a frame folder, numbered from 1; 'img_%05d.jpg', or 'frame_%010d.jpg' with a list of
        EPIC-KITCHENS, or the preset's. Those of flow hold ``%s`` for the axis too, as in 'flow_%s_%05d.jpg'; by default
        they are what the folder holds.
    video_ext : str
        Extension of paths that the list gives without.
    is_color : bool
        Must be True.
    modality : {'rgb', 'flow'}
        Read pictures (C is 3), or optical flow (C is 2: x and y) from the same list.
    num_segments : int
        S, parts of a video, of each of which one clip is taken (TSN).
    num_crop : int
        C, crops that `transform` cuts from each clip.
    new_length, new_step : int
        T, frames of a clip, and their distance.
    new_width, new_height : int
        Size that frames are resized to before `transform`, with `data_aug` 'v1' and when both are above 0.
    target_width, target_height : int, optional
        Size that the frames must have after `transform`; by default whatever it gives (GluonCV: 224).
    temporal_jitter : bool
        Shift each frame of a clip by up to ``new_step - 1``.
    video_loader : bool
        Paths are files: of the folder ``v`` and the file ``v.mp4`` the file is read. Otherwise each path is what it is
        found to be.
    use_decord : bool
        The same as ``decoder='decord'``.
    slowfast : bool
        Take the frames of SlowFast networks: of each `new_length` frames every `fast_temporal_stride`-th, then every
        `slow_temporal_stride`-th.
    slow_temporal_stride, fast_temporal_stride : int
    data_aug : {'v1', 'v2', 'v3', 'v4'}
        The kind of `transform`: with 'v2' to 'v4' it resizes frames itself. (GluonCV resizes frame folders before it
        all the same.)
    lazy_init : bool
        Do not read the list.
    transform : callable, optional
        Takes frames uint8 (n, H, W, 3), gives frames float (n * C, 3, h, w); of flow (n, H, W, 2) and
        (n * C, 2, h, w). By default frames are only transposed: values stay 0..255.
    seed : int
        With epoch and index it decides every random choice.
    decoder : {'auto', 'pyav', 'decord', 'opencv', 'pillow'}
        As in `VideoReader`.
    on_damage : {'accept', 'skip', 'raise'}
        As in `VideoReader`.
    timeout : float, optional
        Seconds that reading one video may take.
    label_base, list_format, num_classes, classes, multi_label, list_encoding
        As in `read_annotations`. The names of a preset are those of lists that say nothing else.
    time_axis : bool
        Clips of one frame keep their axis T, for networks of clips.
    clip_sampling : {'consecutive', 'dense', 'spread'}
        With 'dense' the `num_segments` clips may start anywhere in the video (`dense_starts`) instead of one in each
        equal part of it. With 'spread' the `new_length` frames of the clip come from as many equal parts of the video,
        a random one of each in training and the middle one otherwise, instead of side by side; `num_segments` and
        `new_step` are 1.
    frame_tables : bool
        Keep the tables of frames of long videos beside the list, in ``LIST.frames``, so that the next run need not read
        all of such a video to find a part of it.
    plan : FramePlan, optional
        Which frames to take, instead of all the arguments that say it one by one.
    flip_label_map : dict or 'forbid', optional
        Class of a video after `transform` mirrored it, as numbers or names, where it is another one; 'forbid' refuses
        transforms that mirror. The default is 'forbid' for presets whose classes have sides, else None.

    Attributes
    ----------
    samples : list of Sample
    classes : list of str or None
        Names in the order of the labels, where they are known.
    num_classes : int
    list_sha256 : str
        Identifies the list in results.

    Raises
    ------
    AnnotationError
        When the list cannot be read.
    UsageError
        When arguments are invalid, alone or together.

    Examples
    --------
    >>> videos = VideoClsCustom('videos', 'train.txt', num_segments=3, transform=transform)
    >>> clip, label = videos[0]
    >>> clip.shape
    (3, 3, 224, 224)
    """

    PRESET: Preset | None = None
    #: What turns the clips of `as_pixels` into numbers; None of all others.
    scaling: Scaling | None = None

    @called(data_dir='root', train_list='setting', val_list='setting', class_names='classes', decode_timeout='timeout')
    def __init__(self, root: str | None = None, setting: str | None = None, train: bool = True,
                 test_mode: bool = False, name_pattern: str | None = None, video_ext: str = 'mp4',
                 is_color: bool = True, modality: str = 'rgb', num_segments: int = 1, num_crop: int = 1,
                 new_length: int = 1, new_step: int = 1, new_width: int = 340, new_height: int = 256,
                 target_width: int | None = None, target_height: int | None = None, temporal_jitter: bool = False,
                 video_loader: bool = False, use_decord: bool = False, slowfast: bool = False,
                 slow_temporal_stride: int = 16, fast_temporal_stride: int = 2, data_aug: str = 'v1',
                 lazy_init: bool = False, transform: Callable | None = None, *, seed: int = 0, decoder: str = 'auto',
                 timeout: float | None = None, label_base: int | None = None, list_format: str = 'auto',
                 num_classes: int | None = None, classes: Sequence[str] | None = None, multi_label: bool = False,
                 flip_label_map: Mapping | str | None = None, time_axis: bool = False,
                 clip_sampling: str = 'consecutive', plan: FramePlan | None = None, on_damage: str = 'accept',
                 frame_tables: bool = False, list_encoding: str | None = None):
        super().__init__()
        preset = self.PRESET
        if preset is None and (root is None or setting is None):
            raise UsageError(f'{type(self).__name__} needs root, the folder of the videos, and setting, their list')
        _check_arguments(is_color, modality, data_aug, use_decord, decoder)
        check_on_damage(on_damage)
        self.modality, self.channels = modality, 2 if modality == 'flow' else 3
        self.root = preset.root(train, modality) if root is None else root
        self.setting = preset.setting(train) if setting is None else setting
        self.train, self.test_mode = train, test_mode
        mode = 'test' if test_mode else 'train' if train else 'val'
        self.plan = plan or FramePlan(mode, num_segments, new_length, new_step, temporal_jitter, slowfast,
                                      slow_temporal_stride, fast_temporal_stride, clip_sampling)
        if self.plan.mode != mode:
            raise UsageError(f'the plan is for mode {self.plan.mode!r}, and train and test_mode say {mode!r}')
        self.num_segments, self.num_crop, self.time_axis = self.plan.num_segments, num_crop, time_axis
        self.target_size = (target_height, target_width)
        self.transform = transform
        self.timeout, self.multi_label, self.seed = timeout, multi_label, seed
        height, width = read_size(data_aug, new_height, new_width) or (0, 0)
        self.reading = dict(decoder='decord' if use_decord else decoder, width=width, height=height,
                            name_pattern=name_pattern, modality=modality, on_damage=on_damage)
        usual = preset.classes if preset is not None and classes is None else None
        usual = usual if usual and num_classes in (None, len(usual)) else None
        known = classes or usual
        videos = VideoList([], list(known) if known else None, list_format, num_classes or len(known or ()), '')
        if not lazy_init:
            videos = read_annotations(
                self.setting, self.root, list_format=list_format, label_base=label_base, num_classes=num_classes,
                classes=classes, multi_label=multi_label, video_ext=video_ext, prefer_files=video_loader,
                split='train' if mode == 'train' else 'val', modality=modality, usual_classes=usual,
                list_encoding=list_encoding)
        self.samples, self.classes, self.num_classes = videos.samples, videos.classes, videos.num_classes
        self.list_sha256 = videos.sha256
        if frame_tables:
            self.reading['tables'] = tables_beside(self.setting)
        if is_epic(videos.format):
            self.reading['part'] = (None, None)
        if name_pattern is None and modality == 'rgb':
            usual = NAME_PATTERN if is_epic(videos.format) else 'img_%05d.jpg'
            self.reading['name_pattern'] = preset.name_pattern if preset else usual
        if flip_label_map is None and preset is not None and preset.sided:
            flip_label_map = 'forbid'
        self.flip_label_map = _numbered(flip_label_map, self.classes, self.num_classes)
        if self.flip_label_map == 'forbid' and may_flip(transform):
            raise UsageError(_FLIP_REFUSED.format(name=type(self).__name__))
        self._visits = _Visits(len(self.samples))

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[mx.nd.NDArray, int | np.ndarray]:
        """Clip float32 and label; a sample that is asked for again is drawn anew, as in the next epoch.

        The clip is (S * C, 3, H, W) for clips of one frame, else (S * C, 3, T, H, W); flow has 2 channels. The label
        is an int, or with `multi_label` a float32 array (K,) of zeros and ones.
        """
        self.samples[index]  # raises the IndexError that ends iteration
        index = int(index) % len(self.samples)
        clip, label = self.load(index, epoch=self._visits.next(index))
        return mx.nd.array(clip), label

    def load(self, index: int, *, epoch: int = 0, view: int = 0) -> tuple[np.ndarray, int | np.ndarray]:
        """Read one sample without MXNet. What is drawn depends on (seed, epoch, index, view) alone.

        Raises
        ------
        VideoReadError
            Naming the video, and the list and line it comes from.
        UsageError
            When `transform` gives something else than was announced.
        """
        sample = self.samples[index]
        reading_rng, transform_rng = sample_rng(self.seed, epoch, index, view).spawn(2)
        frames = self._read(sample, reading_rng)
        if self.transform is None:
            clip, flipped = frames.transpose(0, 3, 1, 2), False
        else:
            with drawing_from(transform_rng, clip_length=self.plan.frames_per_clip) as drawing:
                clip = _to_array(self.transform(frames))
            self._check_size(clip)
            flipped = drawing.flipped
        return self._layout(clip), self._label(sample, flipped)

    def as_pixels(self) -> VideoClsCustom:
        """The same data set without the last step of its transform, `scaling`: clips uint8, for who does that himself.

        Raises
        ------
        UsageError
            When the transform does not end by scaling pixels.
        """
        if not hasattr(self.transform, 'as_pixels'):
            raise UsageError('pixels can be sent where the transform ends by scaling them, as those of --data-aug do; '
                             f'{type(self.transform).__name__} works on scaled numbers to its end')
        videos = copy.copy(self)
        videos.transform, videos.scaling = self.transform.as_pixels(), self.transform.scaling
        return videos

    def load_frames(self, index: int) -> np.ndarray:
        """Frames uint8 (n, H, W, 3 or 2) that the sampling mode takes from one video, before `transform`."""
        reading_rng, _ = sample_rng(self.seed, 0, index).spawn(2)
        return self._read(self.samples[index], reading_rng)

    def _read(self, sample: Sample, rng: np.random.Generator) -> np.ndarray:
        try:
            return call_with_deadline(read_clip, sample, self.plan, rng, self.reading, timeout=self.timeout)
        except VideoReadError as error:
            cause = error.cause
            if self.modality == 'flow' and not os.path.isdir(sample.path):
                videos = '' if os.path.isdir(self.setting) else ' --data-dir FOLDER_OF_VIDEOS'
                cause = (f'its optical flow is not there; gluon-action extract-flow {self.setting}{videos} --out '
                         f'{self.root} makes all that is missing')
            raise VideoReadError(error.path, error.decoder, f'{cause} ({sample.where})') from error
        except WorkerError as error:
            raise VideoReadError(sample.path, self.reading['decoder'], f'{error} ({sample.where})') from error

    def _check_size(self, clip: np.ndarray) -> None:
        if clip.ndim != 4 or clip.shape[1] != self.channels:
            raise UsageError(f'the transform must give frames (n, {self.channels}, H, W), it gave shape {clip.shape}; '
                             'does it end with VideoToTensor?')
        if any(want not in (None, got) for want, got in zip(self.target_size, clip.shape[2:])):
            raise UsageError('the transform gives frames of {}x{} (height x width), but target_height and target_width '
                             'are {}x{}; pass what it gives, or neither'.format(*clip.shape[2:], *self.target_size))
        expected = self.num_segments * self.num_crop * self.plan.frames_per_clip
        if len(clip) != expected and (self.num_crop > 1 or self.plan.slowfast or len(clip) % expected):
            raise UsageError(f'the transform gives {len(clip)} frames, but num_segments {self.num_segments} x '
                             f'num_crop {self.num_crop} x {self.plan.frames_per_clip} frames a clip are {expected}; '
                             'pass the number of crops it cuts as num_crop')

    def _layout(self, clip: np.ndarray) -> np.ndarray:
        """Frames (S * C * T, 3, H, W) as clips float32 (S * C, 3, T, H, W), without T of 1 unless `time_axis`."""
        if self.plan.frames_per_clip > 1 or self.time_axis:
            clip = clip.reshape(-1, self.plan.frames_per_clip, *clip.shape[1:]).transpose(0, 2, 1, 3, 4)
        return np.ascontiguousarray(clip, dtype=np.float32 if self.scaling is None else np.uint8)

    def _label(self, sample: Sample, flipped: bool) -> int | np.ndarray:
        if flipped and self.flip_label_map == 'forbid':
            raise UsageError(_FLIP_REFUSED.format(name=type(self).__name__))
        mapping = self.flip_label_map if flipped and self.flip_label_map else {}
        if not self.multi_label:
            return mapping.get(sample.label, sample.label)
        hot = np.zeros(self.num_classes, np.float32)
        hot[[mapping.get(label, label) for label in sample.label]] = 1
        return hot


def may_flip(transform: Callable | None) -> bool:
    """Whether a transform, or one that it is composed of, mirrors videos."""
    if getattr(transform, 'flips', False):
        return True
    children = getattr(transform, '_children', {})
    return any(map(may_flip, children.values() if isinstance(children, dict) else children))


def _to_array(clip) -> np.ndarray:
    """Return what a transform gives, an array or a list of frames, NumPy's or MXNet's, as one array."""
    if isinstance(clip, (list, tuple)):
        return np.stack([_to_array(frame) for frame in clip])
    return clip.asnumpy() if isinstance(clip, mx.nd.NDArray) else np.asarray(clip)


_FLIP_REFUSED = ('{name}: its classes have sides ("from left to right"), and the transform mirrors videos; take the '
                 'mirroring out (--flip-prob 0), or pass flip_label_map={{class: class of the mirrored video}}')


def _check_arguments(is_color: bool, modality: str, data_aug: str, use_decord: bool, decoder: str) -> None:
    if modality not in MODALITIES:
        raise UsageError(f'modality must be one of {", ".join(MODALITIES)}, got {modality!r}')
    if not is_color:
        raise UsageError('only colour frames (is_color True) can be read, got is_color False')
    if data_aug not in DATA_AUGS:
        raise UsageError(f'data_aug must be one of {", ".join(DATA_AUGS)}, got {data_aug!r}')
    if use_decord and decoder not in ('auto', 'decord'):
        raise UsageError(f'use_decord=True contradicts decoder={decoder!r}')


def _numbered(mapping: Mapping | str | None, classes: list[str] | None,
              num_classes: int) -> dict[int, int] | str | None:
    """A flip_label_map with names replaced by numbers."""
    if mapping is None or mapping == 'forbid':
        return mapping
    if not isinstance(mapping, Mapping):
        raise UsageError(f"flip_label_map must be a dictionary or 'forbid', got {mapping!r}")
    names, numbered = ClassNames(classes or []), {}
    for pair in mapping.items():
        numbers = [names.find(label) if isinstance(label, str) else label for label in pair]
        for label, number in zip(pair, numbers):
            if number is None or not 0 <= number < num_classes:
                raise UsageError(f'flip_label_map: {label!r} is not one of the {num_classes} classes')
        numbered[numbers[0]] = numbers[1]
    return numbered


class _Visits:
    """How often each sample was asked for, in memory that forked workers share.

    A Gluon DataLoader has no epoch to pass on. Counting here makes its batches differ from epoch to epoch and equal
    for any number of workers.
    """

    def __init__(self, size: int):
        self._counts = np.frombuffer(mmap.mmap(-1, 4 * max(1, size)), np.uint32)

    def next(self, index: int) -> int:
        count = int(self._counts[index])
        self._counts[index] += 1
        return count

    def __getstate__(self) -> np.ndarray:
        return self._counts.copy()

    def __setstate__(self, counts: np.ndarray) -> None:
        self.__init__(len(counts))
        self._counts[:] = counts
