"""Generated videos with class names and official-looking lists, so that everything runs on a fresh machine."""
from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...engine import usable_cores
from ...errors import OutputError, UsageError
from ...files import replacing, write_file
from . import moving_texture

_FORMAT = 2  # raised when the same settings would give other videos
_CLIPS_PER_GROUP = 4  # UCF101 names clips by group (one source) and number in it; a group never spans two splits
_FPS = 12


@dataclass(frozen=True)
class DemoData:
    """Where a demo data set lies.

    Attributes
    ----------
    root, video_dir : Path
        The data set and its videos, ``video_dir/<Class>/v_<Class>_g01_c01.mp4``.
    train_list, val_list : Path
        GluonCV's lists: path below `video_dir`, number of frames, label from 0.
    classes : tuple of str
        Names in the order of the labels.
    ucf_train_list, ucf_test_list, class_ind : Path
        The same in the look of UCF101's official files (labels from 1, none in the test list).
    """

    root: Path
    video_dir: Path
    train_list: Path
    val_list: Path
    classes: tuple[str, ...]
    ucf_train_list: Path
    ucf_test_list: Path
    class_ind: Path

    @property
    def flow_dir(self) -> Path:
        """Where `make_demo_flow` puts the optical flow."""
        return self.root / 'flow'


def make_demo(name: str, root: str | os.PathLike, *, seed: int = 0, train_per_class: int = 60, val_per_class: int = 10,
              size: int | tuple[int, int] = 96, num_frames: int = 24, progress: bool = False) -> DemoData:
    """Make a demo data set of H.264 files, or what is missing of it.

    Parameters
    ----------
    name : {'demo_appearance', 'demo_motion', 'demo_two_stream'}
        In 'demo_appearance' the shape and pattern of an object decide, in any colour, at any place. In 'demo_motion'
        only the order of the frames decides: clip k of every class holds the very same pictures, and the classes are
        pairs of which one is the other played backwards. In 'demo_two_stream' the classes are two colours times two
        directions: single frames, and frames 8 or more apart, show the colour and nothing of the direction; optical
        flow shows the direction and nothing of the colour. Mirroring a video left to right keeps its class.
    root : path
        Folder for the data set. It is made; one that holds anything else is refused.
    seed : int
        Decides every pixel: equal settings give equal files (with the same encoder version).
    train_per_class, val_per_class : int
        Videos of each class.
    size : int or (int, int)
        Height of the 4:3 frames, or (width, height); even numbers of 32 or more.
    num_frames : int
        Frames of each video, 4 or more.
    progress : bool
        Show a progress bar where the error stream is a terminal.

    Returns
    -------
    DemoData

    Raises
    ------
    UsageError
        When an argument is invalid.
    OutputError
        When `root` holds other things or cannot be written.
    """
    if name not in _DEMOS:
        raise UsageError(f'unknown demo data {name!r}; there are {", ".join(_DEMOS)}')
    width, height = (2 * round(size * 2 / 3), size) if isinstance(size, int) else size
    if min(width, height) < 32 or width % 2 or height % 2:
        raise UsageError(f'demo videos need even sides of 32 or more pixels, got {width}x{height}')
    if min(train_per_class, val_per_class) < 1 or num_frames < 4 or seed < 0:
        raise UsageError('demo data need train_per_class >= 1, val_per_class >= 1, num_frames >= 4 and seed >= 0, got '
                         f'{train_per_class}, {val_per_class}, {num_frames} and {seed}')
    settings = dict(name=name, format=_FORMAT, seed=seed, train_per_class=train_per_class,
                    val_per_class=val_per_class, width=width, height=height, num_frames=num_frames)
    root = Path(root).expanduser()
    try:
        _claim(root, settings)
        data = _layout(root, name)
        _make_videos(data, settings, progress)
        _write_lists(data, settings)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f'{root}: the demo data could not be written: {error.strerror or error}') from error
    return data


def make_demo_flow(data: DemoData, *, progress: bool = False) -> Path:
    """Extract the optical flow of a demo data set, or what is missing of it, into its `flow_dir`, which is returned.

    By Farneback's method, at the size of the videos, up to 4 pixels a frame. Flow that lies there is kept, however it
    was made.

    Raises
    ------
    OutputError
        When a video cannot be read or the flow not be written.
    """
    from ..flow.extraction import FlowSettings, extract_flow
    from ..flow.find_videos import find_videos
    from ..flow.folder import MANIFEST
    videos = {name: path for name, path in find_videos([data.video_dir]).items()
              if not (data.flow_dir / name / MANIFEST).exists()}
    settings = FlowSettings('farneback', bound=4, short_side=0)
    failures = extract_flow(videos, data.flow_dir, settings, num_workers=usable_cores(), progress=progress).failures
    if failures:
        raise OutputError(f'{data.flow_dir}: no flow of {len(failures)} videos, first: {failures[0]["error"]}')
    return data.flow_dir


def render_appearance(rng: np.random.Generator, label: int, num_frames: int, width: int, height: int) -> np.ndarray:
    """A large object of class `label` that drifts and turns over a textured background: uint8 (T, H, W, 3)."""
    frames = np.broadcast_to(_texture(rng, width, height), (num_frames, height, width, 3)).astype(np.uint8)
    time = np.linspace(0, 1, num_frames, dtype=np.float32)[:, None, None]
    radius = min(width, height) * rng.uniform(0.30, 0.40)
    start, drift = rng.uniform(0.38, 0.62, 2), rng.uniform(-0.14, 0.14, 2)
    across = np.arange(width, dtype=np.float32)[None, None, :] - width * (start[0] + drift[0] * time)
    down = np.arange(height, dtype=np.float32)[None, :, None] - height * (start[1] + drift[1] * time)
    _draw_object(rng, frames, label, across / radius, down / radius, turn=rng.uniform(-0.5, 0.5) * time)
    return frames


def render_motion(rng: np.random.Generator, label: int, num_frames: int, width: int, height: int) -> np.ndarray:
    """A picture that scrolls down or up and comes in again at the other side: uint8 (T, H, W, 3).

    Every label shows the same T pictures, each once: one picture rolled by ``k / T`` of its height, k = 0 .. T - 1.
    ScrollDownSlow takes them in the order of k, ScrollDownFast every second one and then those between; the Up
    classes play the Down classes backwards. The first k is random, so that no picture tells when it is shown.
    """
    picture = _texture(rng, width, height).astype(np.uint8)
    radius = 0.22 * min(width, height)
    for _ in range(3):
        across = np.arange(width, dtype=np.float32)[None, :] - rng.uniform(0.1, 0.9) * width
        down = (np.arange(height, dtype=np.float32)[:, None] - rng.uniform() * height) % height - height / 2
        _draw_object(rng, picture, rng.integers(len(_OBJECTS)), across / radius, down / radius)
    name = _SCROLLS[label]
    order = np.arange(num_frames)
    if name.endswith('Fast'):
        order = np.concatenate([order[::2], order[1::2]])
    if name.startswith('ScrollUp'):
        order = order[::-1]
    order = (order + rng.integers(num_frames)) % num_frames
    return np.stack([np.roll(picture, round(k * height / num_frames), axis=0) for k in order])


def _draw_object(rng: np.random.Generator, frames: np.ndarray, label: int, across: np.ndarray, down: np.ndarray,
                 turn: np.ndarray | float = 0.0) -> None:
    """Paint an object of class `label` into `frames`, at (0, 0) of the coordinates, in two random colours."""
    angle = rng.uniform(-0.4, 0.4) + turn
    light, dark = rng.uniform(165, 255, 3), rng.uniform(0, 65, 3)
    if rng.random() < 0.5:
        light, dark = dark, light
    u = across * np.cos(angle) + down * np.sin(angle)
    v = down * np.cos(angle) - across * np.sin(angle)
    inside, pattern = list(_OBJECTS.values())[label](u, v)
    frames[inside & pattern] = light
    frames[inside & ~pattern] = dark


def _texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """float32 (H, W, 3) in 0..255: random waves that join at the borders, and grain."""
    x = np.arange(width, dtype=np.float32)[None, :, None] * np.float32(2 * np.pi / width)
    y = np.arange(height, dtype=np.float32)[:, None, None] * np.float32(2 * np.pi / height)
    picture = np.broadcast_to(rng.uniform(85, 150, 3), (height, width, 3)).astype(np.float32)
    for _ in range(10):
        waves_x, waves_y = (np.float32(waves) for waves in rng.integers(-6, 7, 2))
        amplitude = rng.uniform(-12, 12, 3).astype(np.float32)
        picture += amplitude * np.cos(waves_x * x + waves_y * y + np.float32(rng.uniform(0, 2 * np.pi)))
    picture += rng.normal(0, 5, (height, width, 1)).astype(np.float32)
    return np.clip(picture, 0, 255)


def _square(u, v):
    return np.maximum(abs(u), abs(v))


def _checked_square(u, v):
    return _square(u, v) < 0.85, (np.floor(u / 0.34) + np.floor(v / 0.34)) % 2 == 0


def _crescent(u, v):
    return (u * u + v * v < 1) & ((u - 0.5) ** 2 + v * v > 0.6), np.True_


def _dotted_triangle(u, v):
    return (v < 0.7) & (1.7 * abs(u) - v < 0.95), np.hypot((u / 0.36) % 1 - 0.5, (v / 0.36) % 1 - 0.5) > 0.32


def _grid_diamond(u, v):
    return abs(u) + abs(v) < 1.1, ((u / 0.44) % 1 < 0.3) | ((v / 0.44) % 1 < 0.3)


def _pinwheel_disc(u, v):
    return u * u + v * v < 1, np.sin(3 * np.arctan2(v, u)) > 0


def _ring_target(u, v):
    return u * u + v * v < 1, (np.hypot(u, v) / 0.4) % 1 < 0.5


def _star(u, v):
    return np.hypot(u, v) < 0.62 + 0.38 * np.cos(5 * np.arctan2(v, u)), np.True_


def _striped_disc(u, v):
    return u * u + v * v < 1, (v / 0.4) % 1 < 0.5


#: Class name -> function of object coordinates (the object fills about -1..1): mask of the object, mask of its pattern.
_OBJECTS = {
    'CheckedSquare': _checked_square,
    'Crescent': _crescent,
    'DottedTriangle': _dotted_triangle,
    'GridDiamond': _grid_diamond,
    'PinwheelDisc': _pinwheel_disc,
    'RingTarget': _ring_target,
    'Star': _star,
    'StripedDisc': _striped_disc,
}
_SCROLLS = ('ScrollDownFast', 'ScrollDownSlow', 'ScrollUpFast', 'ScrollUpSlow')


@dataclass(frozen=True)
class _Demo:
    """What makes a data set: class names, a renderer, options of the encoder, and what one clip number shares."""

    classes: tuple[str, ...]
    render: Callable[[np.random.Generator, int, int, int, int], np.ndarray]
    encoder: dict[str, str]
    same_pictures: bool


# x264's macroblock tree looks at memory it never wrote: about one small video in ten came out different each time.
_SAME_BYTES = {'threads': '1', 'x264-params': 'mbtree=0:rc-lookahead=0'}
_DEMOS = {
    'demo_appearance': _Demo(tuple(_OBJECTS), render_appearance,
                             {'preset': 'veryfast', 'crf': '20', 'g': '12', 'bf': '2', **_SAME_BYTES},
                             same_pictures=False),
    # Every frame by itself at one quality: an ordinary encoder's predicted frames would show which one came before.
    'demo_motion': _Demo(_SCROLLS, render_motion, {'preset': 'ultrafast', 'qp': '20', 'g': '1', **_SAME_BYTES},
                         same_pictures=True),
    'demo_two_stream': _Demo(moving_texture.CLASSES, moving_texture.render_two_stream,
                             {'preset': 'ultrafast', 'qp': '20', 'g': '1', **_SAME_BYTES}, same_pictures=True),
}


def _claim(root: Path, settings: dict) -> None:
    """Claim a folder that is empty or holds this very data set, finished or not."""
    root.mkdir(parents=True, exist_ok=True)
    record = root / 'demo.json'
    if record.exists():
        try:
            recorded = json.loads(record.read_text())
        except ValueError:
            recorded = None
        if recorded != settings:
            raise OutputError(f'{root} holds demo data made with other settings ({recorded}, wanted {settings}); '
                              'choose another folder, or delete it')
    elif any(root.iterdir()):
        raise OutputError(f'{root} is not empty and was not made by this command; choose another folder')
    else:
        write_file(record, json.dumps(settings, indent=1) + '\n')


def find_demo(name: str, root: Path) -> DemoData | None:
    """Return the data set that `root` holds, whatever its settings were; None if it is not there or not finished."""
    data = _layout(Path(root), name)
    record = data.root / 'demo.json'
    try:
        settings = json.loads(record.read_text())
        # The lists are written when all videos are there.
        whole = data.class_ind.exists() and data.ucf_test_list.exists()
        return data if whole and (settings['name'], settings['format']) == (name, _FORMAT) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None


def _layout(root: Path, name: str) -> DemoData:
    return DemoData(root=root, video_dir=root / 'videos', train_list=root / f'{name}_train_split_1_videos.txt',
                    val_list=root / f'{name}_val_split_1_videos.txt', classes=_DEMOS[name].classes,
                    ucf_train_list=root / 'trainlist01.txt', ucf_test_list=root / 'testlist01.txt',
                    class_ind=root / 'classInd.txt')


def _clips(settings: dict, split: str) -> Iterator[tuple[str, int, int]]:
    """(path below the video folder, label, clip number) of a split; validation has the first groups, as in UCF101."""
    num_val, num_train = settings['val_per_class'], settings['train_per_class']
    first_train = -(-num_val // _CLIPS_PER_GROUP) * _CLIPS_PER_GROUP
    clips = range(num_val) if split == 'val' else range(first_train, first_train + num_train)
    for label, name in enumerate(_DEMOS[settings['name']].classes):
        for clip in clips:
            group, number = divmod(clip, _CLIPS_PER_GROUP)
            yield f'{name}/v_{name}_g{group + 1:02d}_c{number + 1:02d}.mp4', label, clip


def _make_videos(data: DemoData, settings: dict, progress: bool) -> None:
    from tqdm import tqdm
    clips = [clip for split in ('train', 'val') for clip in _clips(settings, split)]
    missing = [clip for clip in clips if not (data.video_dir / clip[0]).exists()]
    with ThreadPoolExecutor(usable_cores()) as pool:  # numpy and the encoder let other threads run
        done = pool.map(lambda clip: _make_video(data.video_dir, settings, *clip), missing)
        for _ in tqdm(done, desc=f'making {settings["name"]}', unit='video', total=len(missing),
                      disable=None if progress else True):
            pass


def _make_video(video_dir: Path, settings: dict, path: str, label: int, clip: int) -> None:
    demo = _DEMOS[settings['name']]
    key = (settings['seed'], clip, 0 if demo.same_pictures else 1 + label)
    frames = demo.render(np.random.default_rng(key), label, settings['num_frames'], settings['width'],
                         settings['height'])
    target = video_dir / path
    target.parent.mkdir(parents=True, exist_ok=True)
    with replacing(target, durable=False) as temporary:
        _write_h264(temporary, frames, demo.encoder)


def _write_h264(path: Path, frames: np.ndarray, options: dict[str, str]) -> None:
    """Encode uint8 (T, H, W, 3)."""
    import av
    with av.open(str(path), 'w', format='mp4') as container:
        stream = container.add_stream('libx264', rate=_FPS, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = 'yuv420p'
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format='rgb24')))
        container.mux(stream.encode())


def _write_lists(data: DemoData, settings: dict) -> None:
    num_frames = settings['num_frames']
    train, val = list(_clips(settings, 'train')), list(_clips(settings, 'val'))
    _write_lines(data.train_list, (f'{path} {num_frames} {label}' for path, label, _ in train))
    _write_lines(data.val_list, (f'{path} {num_frames} {label}' for path, label, _ in val))
    _write_lines(data.ucf_train_list, (f'{path} {label + 1}' for path, label, _ in train))
    _write_lines(data.ucf_test_list, (path for path, _, _ in val))
    _write_lines(data.class_ind, (f'{label + 1} {name}' for label, name in enumerate(data.classes)))


def _write_lines(path: Path, lines: Iterator[str]) -> None:
    write_file(path, ''.join(f'{line}\n' for line in lines))
