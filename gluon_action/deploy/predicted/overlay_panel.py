"""The strip that an overlay draws at the foot of a picture: label, score, curves, and the time."""
from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np

from ...errors import UsageError
from ...printable import printable
from ..predict.segments import NONE_OF_THESE
from ..predict.windows import History

#: Colours of the classes, of overlays (on black) and timelines (on white) alike: each has a contrast of 3 to both.
COLORS = ('#cc7a00', '#1f8fd0', '#e0524d', '#3f9b3a', '#a062d6', '#8c7a5c')
#: Seconds that the curves of a stream without an end show.
LIVE_SECONDS = 30.0

_BACKGROUND = (12, 14, 18, 208)
_SHOWN = 3  # classes with a curve
_SHARP = 3  # times the resolution that curves are drawn at, since Pillow's lines have jagged edges


class ClassColors:
    """Colours of the classes in all pictures of a video, in the order in which classes come up among the best."""

    def __init__(self):
        self._colors: dict[int, str] = {}

    def take(self, rolling: np.ndarray) -> None:
        """Take the next rolling mean (K,)."""
        self.of(_best(rolling))

    def of(self, classes: Sequence[int]) -> list[str]:
        """Return the colours of classes that are drawn together, each its own as long as there are enough."""
        found: list[str] = []
        for k in classes:
            color = self._colors.get(k) or COLORS[len(self._colors) % len(COLORS)]
            if color in found:
                color = next((other for other in COLORS if other not in found), color)
            self._colors.setdefault(k, color)
            found.append(color)
        return found


class Panel:
    """Draws onto pictures of one size.

    Parameters
    ----------
    width, height : int
    labels : sequence of str, optional
    duration : float, optional
        Seconds of the video; None where it is unknown, then the curves scroll.
    colors : ClassColors, optional
    threshold : float, optional
        Below it the label is `NONE_OF_THESE`.
    """

    def __init__(self, width: int, height: int, labels: Sequence[str] | None, duration: float | None,
                 colors: ClassColors | None = None, threshold: float | None = None):
        self.size = width, height
        self._labels, self._duration, self._threshold = labels, duration, threshold or 0.
        text = max(12, round(0.048 * min(width, height)))
        self._large, self._small = text, max(10, round(0.68 * text))
        self._pad = max(4, text // 2)
        self._chart_size = width - 2 * self._pad, round(2.2 * text)
        self._height = self._pad + round(1.35 * text) + self._chart_size[1] + round(1.6 * self._small) + self._pad // 2
        self._top = height - self._height
        self._class_colors = colors or ClassColors()
        self._colors: dict[int, str] = {}  # of the classes that are shown
        self._drawn, self._image = None, None

    def draw(self, picture, seconds: float, history: History) -> None:
        """Draw onto a picture of Pillow that is shown at a time."""
        from PIL import ImageDraw
        key = (len(history.windows), history.windows[-1].frame if history.windows else -1, history.merged,
               int(4 * seconds) if self._duration is None else None)
        if key != self._drawn:
            self._drawn, self._image = key, self._strip(seconds, history)
        picture.paste(self._image, (0, self._top), self._image)
        draw = ImageDraw.Draw(picture)
        begin, end = self._span(seconds)
        x = self._pad + (seconds - begin) / (end - begin) * self._chart_size[0]
        y = self._top + self._chart_top
        draw.line([(x, y), (x, y + self._chart_size[1])], fill='white', width=max(1, self._large // 12))
        time = clock(seconds) if self._duration is None else f'{clock(seconds)} / {clock(self._duration)}'
        draw.text((self.size[0] - self._pad, self._top + self._legend_top), time, font=_font(self._small),
                  fill='#d8dce4', anchor='ra')

    @property
    def _chart_top(self) -> int:
        return self._pad + round(1.35 * self._large)

    @property
    def _legend_top(self) -> int:
        return self._chart_top + self._chart_size[1] + self._small // 4

    def _span(self, seconds: float) -> tuple[float, float]:
        """Times at both ends of the chart."""
        if self._duration is None:
            return max(0.0, seconds - LIVE_SECONDS), max(LIVE_SECONDS, seconds)
        return 0.0, max(self._duration, seconds, 1e-3)

    def _strip(self, seconds: float, history: History):
        """The panel without what changes from frame to frame."""
        from PIL import Image, ImageDraw
        image = Image.new('RGBA', (self.size[0], self._height), _BACKGROUND)
        draw = ImageDraw.Draw(image)
        if not history.windows:
            draw.text((self._pad, self._pad), '…', font=_font(self._large), fill='white')
            return image
        rolling = history.windows[-1].rolling
        best = _best(rolling)
        self._colors = dict(zip(best, self._class_colors.of(best)))
        self._write_label(draw, best[0], float(rolling[best[0]]))
        chart = self._chart(history, best, self._span(seconds))
        image.alpha_composite(chart, (self._pad, self._chart_top))
        self._write_legend(draw, best, rolling)
        return image

    def _write_label(self, draw, k: int, score: float) -> None:
        score_text, right = f'{score:.2f}', self.size[0] - self._pad
        dot = self._large * 0.62
        left = self._pad + round(1.5 * dot)
        room = right - draw.textlength(score_text, font=_font(self._large)) - self._large - left
        is_shown = score >= self._threshold
        size, text = fit_text(self._name(k) if is_shown else NONE_OF_THESE, room, self._large, draw)
        middle = self._pad + 0.55 * self._large
        draw.ellipse([self._pad, middle - dot / 2, self._pad + dot, middle + dot / 2],
                     fill=self._colors[k] if is_shown else '#d8dce4')
        draw.text((left, middle), text, font=_font(size), fill='white', anchor='lm')
        draw.text((right, middle), score_text, font=_font(self._large), fill='white', anchor='rm')

    def _write_legend(self, draw, best: list[int], rolling: np.ndarray) -> None:
        font = _font(self._small)
        longest = clock(self._duration or 0.0)
        dot = self._small * 0.55
        time = draw.textlength(f'{longest} / {longest}' if self._duration else '0:00:00', font=font)
        x, right = self._pad, self.size[0] - self._pad - time - 2 * dot
        for place, k in enumerate(best[1:]):
            score = f' {rolling[k]:.2f}'
            share = (right - x) / (len(best) - 1 - place)
            room = share - 3.5 * dot - draw.textlength(score, font=font)
            _, name = fit_text(self._name(k), room, self._small, draw, smallest=1.0)
            if len(name) < min(4, len(self._name(k))):  # a letter and dots say nothing
                break
            middle = self._legend_top + 0.55 * self._small
            draw.ellipse([x, middle - dot / 2, x + dot, middle + dot / 2], fill=self._colors[k])
            draw.text((x + 1.5 * dot, self._legend_top), name + score, font=font, fill='#d8dce4')
            x += 3.5 * dot + draw.textlength(name + score, font=font)

    def _chart(self, history: History, best: list[int], span: tuple[float, float]):
        from PIL import Image, ImageDraw
        width, height = (side * _SHARP for side in self._chart_size)
        image = Image.new('RGBA', (width, height), (255, 255, 255, 16))
        draw = ImageDraw.Draw(image)
        for share in (0.0, 0.5, 1.0):
            y = (1 - share) * (height - 1)
            draw.line([(0, y), (width, y)], fill=(255, 255, 255, 60), width=_SHARP // 2)
        line = max(_SHARP, round(self._large * 0.14 * _SHARP))
        first, last = history.windows[0], history.windows[-1]
        # A point a pixel is all that can be seen; the newest one is always there.
        windows = [*history.windows[:-1:-(-len(history.windows) // self._chart_size[0])], last]
        times = np.array([first.start, *(window.end for window in windows)])
        x = (times - span[0]) / (span[1] - span[0]) * width
        # Joints are drawn by Python, one by one; of lines that are shorter than thick none is seen.
        joint = 'curve' if width > len(windows) * line else None
        for k in reversed(best):
            values = np.array([first.rolling[k], *(window.rolling[k] for window in windows)])
            y = line / 2 + (1 - values) * (height - 1 - line)
            draw.line(list(zip(x.tolist(), y.tolist())), fill=self._colors[k], width=line, joint=joint)
        return image.resize(self._chart_size, Image.Resampling.BOX)

    def _name(self, k: int) -> str:
        return printable(self._labels[k]) if self._labels else f'class {k}'


def _best(rolling: np.ndarray) -> list[int]:
    """Classes that are shown."""
    return np.argsort(-rolling, kind='stable')[:_SHOWN].tolist()


def fit_text(text: str, room: float, size: int, draw, smallest: float = 0.7) -> tuple[int, str]:
    """Return the size at which a text fits into so many pixels, and the text, cut where even the smallest is too large.

    Parameters
    ----------
    text : str
    room : float
    size : int
        Pixels, at most.
    draw : ImageDraw
    smallest : float
        Part of `size` that the text may shrink to.
    """
    least = max(9, round(smallest * size))
    while size > least and draw.textlength(text, font=_font(size)) > room:
        size -= 1
    if draw.textlength(text, font=_font(size)) <= room:
        return size, text
    while text and draw.textlength(f'{text}…', font=_font(size)) > room:
        text = text[:-1].rstrip()
    return size, f'{text}…'


def import_pillow() -> None:
    """Raise `UsageError` with the cure where Pillow is not installed."""
    try:
        import PIL.ImageFont  # noqa: F401
    except ImportError as error:
        raise UsageError(f"drawing on videos needs Pillow ({error}): pip install 'gluon_action[pictures]'") from error


@functools.lru_cache(maxsize=64)
def _font(size: int):
    from PIL import ImageFont
    return ImageFont.load_default(size)


def clock(seconds: float) -> str:
    """Seconds as 0:05, 1:19 or 1:00:00."""
    minutes, seconds = divmod(int(seconds + 1e-6), 60)
    hours, minutes = divmod(minutes, 60)
    return f'{hours}:{minutes:02d}:{seconds:02d}' if hours else f'{minutes}:{seconds:02d}'
