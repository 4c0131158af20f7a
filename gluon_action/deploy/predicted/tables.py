"""Files about all videos of a prediction: everything as JSON, a row a video as CSV, segments as CSV, JSON or text."""
from __future__ import annotations

import csv
import io
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ... import __version__
from ...errors import UsageError
from ...files import to_json, write_file
from ...printable import printable
from ...unfinished import Unfinished
from ..predict.segments import NONE_OF_THESE

#: Stands for standard output in the place of a file of JSON.
STANDARD_OUTPUT = '-'


class Tables(NamedTuple):
    """Which of these files are written; None leaves one out.

    Attributes
    ----------
    json : str or None
        Everything; ``'-'`` is standard output.
    csv : str or None
        A row a video.
    segments : str or None
        What is shown from when to when: a name that ends in ``.csv``, ``.json`` or ``.txt``.
    """

    json: str | None = None
    csv: str | None = None
    segments: str | None = None

    @property
    def files(self) -> dict[str, Path]:
        """Flag -> file, of those that are files."""
        named = {'--json': None if self.json == STANDARD_OUTPUT else self.json, '--csv': self.csv,
                 '--segments': self.segments}
        return {flag: Path(path).expanduser() for flag, path in named.items() if path}

    def unfinished(self) -> Unfinished | None:
        """Return what an interrupted command left beside the first of these files; None where there are no files."""
        for path in self.files.values():
            return Unfinished(path.with_name(f'{path.name}.unfinished'))
        return None

    def write(self, about: Mapping[str, Any], labels: Sequence[str] | None, videos: Iterable[Mapping[str, Any]],
              top_k: int = 5) -> list[Path]:
        """Write them, each under another name first, video by video.

        Parameters
        ----------
        about : mapping
            The model, as `Predictor.about` says.
        labels : sequence of str or None
            Names of the classes.
        videos : iterable of mapping
            ``as_dict`` of predictions and of failures; asked for again for every file.
        top_k : int
            Classes in a row of the CSV, at most.

        Returns
        -------
        list of Path
            What was written.

        Raises
        ------
        OutputError
            When a file cannot be written.
        """
        head = {'gluon_action': __version__, 'model': about}
        if self.json == STANDARD_OUTPUT:
            sys.stdout.writelines(_as_json({**head, 'labels': labels}, videos))
        content: dict[str, Callable[[], Iterator[str]]] = {
            '--json': lambda: _as_json({**head, 'labels': labels}, videos), '--csv': lambda: rows_of(videos, top_k),
            '--segments': lambda: _SEGMENTS[ending_of(self.segments)](head, videos)}
        for flag, path in self.files.items():
            write_file(path, content[flag]())
        return list(self.files.values())


def ending_of(path: str) -> str:
    """Return the format of a file of segments; `UsageError` for one that is not known."""
    ending = Path(path).suffix.lower()
    if ending not in _SEGMENTS:
        raise UsageError(f'--segments {path}: its ending says the format: .csv, .json, or .txt')
    return ending


def rows_of(videos: Iterable[Mapping[str, Any]], top_k: int = 5) -> Iterator[str]:
    """Yield a CSV of a row a video: label and score, the best classes, and the cause of what failed."""
    count = max((min(top_k, len(video.get('top') or ())) for video in videos), default=0)
    best = [f'top{number}{kind}' for number in range(1, count + 1) for kind in ('', '_score')]
    yield _row(['video', 'label', 'score', *best, 'seconds', 'error'])
    for video in videos:
        tops = [value for top in (video.get('top') or ())[:count]
                for value in (_cell(top['label']), f'{top["probability"]:.4f}')]
        score, seconds = (f'{video[name]:.{digits}f}' if video.get(name) is not None else ''
                          for name, digits in (('score', 4), ('duration', 2)))
        label = ';'.join(video.get('found') or ()) or video.get('label') or ''
        yield _row([_cell(video.get('path')), _cell(label), score, *tops, *[''] * (2 * count - len(tops)), seconds,
                    _cell(video.get('error'))])


def _as_json(head: Mapping[str, Any], videos: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """Yield the JSON of `head` with a list of videos behind it, video by video."""
    before, _, after = to_json({**head, 'videos': []}).rpartition('[]')
    yield f'{before}['
    none = True
    for video in videos:
        yield ('\n    ' if none else ',\n    ') + to_json(video).rstrip('\n').replace('\n', '\n    ')
        none = False
    yield f'{"" if none else chr(10) + "  "}]{after}'


def _segment_rows(head: Mapping[str, Any], videos: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    yield _row(['video', 'label', 'start', 'end', 'score'])
    for video in videos:
        for segment in video.get('segments') or ():
            yield _row([_cell(video.get('path')), _cell(segment['label']), f'{segment["start"]:.3f}',
                        f'{segment["end"]:.3f}', f'{segment["score"]:.4f}'])


def _segment_text(head: Mapping[str, Any], videos: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for video in videos:
        lines = [printable(video.get('path'))]
        lines += [f'  {_clock(segment["start"])} - {_clock(segment["end"])}  {printable(segment["label"])} '
                  f'({segment["score"]:.2f})' for segment in video.get('segments') or ()]
        if 'error' in video:
            lines.append(f'  failed: {printable(video["error"])}')
        elif not video.get('segments'):
            lines.append(f'  {NONE_OF_THESE}')
        yield '\n'.join(lines) + '\n'


def _segment_json(head: Mapping[str, Any], videos: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    kept = ('path', 'duration', 'segments', 'error')
    return _as_json(head, ({name: video[name] for name in kept if name in video} for video in videos))


_SEGMENTS = {'.csv': _segment_rows, '.json': _segment_json, '.txt': _segment_text}


def _clock(seconds: float) -> str:
    """Seconds as 0:01:19.50."""
    hundredths = round(100 * seconds)
    return f'{hundredths // 360000}:{hundredths // 6000 % 60:02d}:{hundredths // 100 % 60:02d}.{hundredths % 100:02d}'


def _cell(text: Any) -> str:
    """A text as tables take it: nothing acts, and what a spreadsheet would compute stands behind an apostrophe."""
    text = printable('' if text is None else text)
    return f"'{text}" if text.startswith(('=', '+', '-', '@')) else text


def _row(cells: Sequence[str]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator='\n').writerow(cells)
    return text.getvalue()
