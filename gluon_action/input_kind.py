"""What networks take: frames, clips or features of frames, as a value that answers shape, layout and options."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .errors import UsageError


@dataclass(frozen=True)
class InputKind:
    """What a network takes: one of `FRAMES`, `CLIPS` and `FEATURES`.

    A layout belongs to one kind and a kind has one layout, so what notes the layout (``config.json`` of a run,
    ``preprocess.json`` and ``model_card.md`` of a bundle) notes the kind.

    Attributes
    ----------
    name : {'frames', 'clips', 'features'}
    layout : {'NCHW', 'NCTHW', 'NTD'}
        Axes of the input: N rows, C channels, T frames, H and W pixels, D numbers of a frame's features.
    options : frozenset of str
        Of the options that decide what a row is, those that mean something: ``clip_length`` is T, ``clip_stride`` how
        far apart frames lie, ``input_size`` H and W, ``segments`` several rows a video.
    """

    name: str
    layout: str
    options: frozenset[str]

    def __str__(self) -> str:
        return f'{self.name} ({", ".join(self.layout)})'

    @property
    def is_video(self) -> bool:
        """Whether rows are cut out of videos, as pictures or optical flow."""
        return 'H' in self.layout

    def takes(self, option: str) -> bool:
        """Whether an option of those that `options` lists means something."""
        return option in self.options

    def shape(self, rows: int, *, channels: int, length: int, size: tuple[int, int]) -> tuple[int, ...]:
        """Return the shape of an input.

        Parameters
        ----------
        rows : int
            N.
        channels : int
            C, or D of features.
        length : int
            T, where there is one.
        size : (int, int)
            H and W, where there are.
        """
        sides = {'N': rows, 'C': channels, 'D': channels, 'T': length, 'H': size[0], 'W': size[1]}
        return tuple(sides[axis] for axis in self.layout)

    def need_video(self, who: str) -> None:
        """Raise `UsageError` where `who`, a flag or a model, takes features but gets videos."""
        if not self.is_video:
            raise UsageError(f'{who}: takes {self}, and these are not cut out of videos; name a network of frames or '
                             'of clips')


#: Single pictures.
FRAMES = InputKind('frames', 'NCHW', frozenset({'input_size', 'segments'}))
#: Pictures, or optical flow, behind each other.
CLIPS = InputKind('clips', 'NCTHW', frozenset({'input_size', 'segments', 'clip_length', 'clip_stride',
                                               'clip_sampling'}))
#: For each frame of a video D numbers that another network has made of it: float32, T frames in a row.
#:
#: A video of fewer than T frames ends in zeros, and its length travels in them: a frame counts unless all its D
#: numbers are 0, and the network finds that out itself, with operators that can be exported. So a batch, the input of a
#: network and that of an exported model stay one array each. Readers of features pad with zeros, cut what is longer
#: than T, and give no frame of zeros for a frame that is there: YouTube-8M's 8 bits, which are read as
#: ``q * 4 / 255 + 4 / 512 - 2``, are 0 for no q.
FEATURES = InputKind('features', 'NTD', frozenset({'clip_length'}))

KINDS = (FRAMES, CLIPS, FEATURES)


def kind_of_layout(layout: str) -> InputKind:
    """Return the kind that has a layout.

    Raises
    ------
    UsageError
        When none has.
    """
    for kind in KINDS:
        if kind.layout == layout:
            return kind
    raise UsageError(f'layout must be one of {", ".join(kind.layout for kind in KINDS)}, got {layout!r}')


def kind_of_shape(shape: Sequence) -> InputKind | None:
    """Return the kind of inputs with as many axes as `shape`; None where none has so many."""
    return next((kind for kind in KINDS if len(kind.layout) == len(shape)), None)


def parse_features(names: str, sizes: str) -> tuple[tuple[str, int], ...]:
    """Return name and size of each feature, from what ``--feature_names`` and ``--feature_sizes`` say.

    Parameters
    ----------
    names, sizes : str
        Separated by commas, spaces do not matter: ``'rgb, audio'`` and ``'1024, 128'``. Their order is that of the
        numbers in a frame.

    Raises
    ------
    UsageError
        When they do not match, a size is no whole number from 1, or a name stands twice.
    """
    known, lengths = ([part.strip() for part in text.split(',')] for text in (names, sizes))
    if not all(known) or len(set(known)) != len(known):
        raise UsageError(f'--feature_names: names that differ, separated by commas, as in "rgb,audio"; got {names!r}')
    if not all(length.isdecimal() and len(length) < 10 and int(length) > 0 for length in lengths):
        raise UsageError('--feature_sizes: whole numbers from 1, separated by commas, as in "1024,128"; '
                         f'got {sizes!r}')
    if len(known) != len(lengths):
        raise UsageError(f'--feature_names {names!r} has {len(known)} and --feature_sizes {sizes!r} {len(lengths)}; '
                         'give a size for each name, in the same order')
    return tuple(zip(known, map(int, lengths)))
