"""Names of classes: read from files, found beside lists, and looked up by what people make of them."""
from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence

from ....class_names import letters_of
from ....errors import AnnotationError
from ..text import is_integer, json_in, lines_of, read_text, say_readings, undecoded

#: Files beside a list that name its classes, the first of them that is there; `prepare_something_something.py` writes
#: the last.
BESIDE = ('class_names.json', 'class_names.txt', 'classes.txt', 'category.txt')


def read_class_names(path: str | os.PathLike, encoding: str | None = None) -> list[str]:
    """Class names in the order of their numbers, out of a file.

    Parameters
    ----------
    path : path
        Text with one name a line, or a number and a name on each, counted from 0 or 1; or JSON: a list of names,
        ``{"name": number, ...}`` or ``{"number": "name", ...}`` with numbers from 0.
    encoding : str, optional
        Of the lists that it belongs to: how it is read where it is not UTF-8 and its first bytes do not say.

    Raises
    ------
    AnnotationError
        When it is empty, cannot be read, names a class twice, or leaves a number out.
    """
    path = os.path.expanduser(os.fspath(path))
    text = _text_of(path, encoding)
    content = json_in(path, text)
    lines = lines_of(text)
    if content is not None:
        names = _in_order(path, content)
        places = [f'entry {number}' for number in range(len(names))]
    else:
        names, places = _numbered(lines) or [name for _, name in lines], [f'line {line}' for line, _ in lines]
    wrong = next(filter(undecoded, names), None)
    if wrong is not None:
        raise AnnotationError(f'{path}: a class name is not UTF-8: {say_readings(wrong)}')
    seen: dict[str, str] = {}
    for name, place in zip(names, places):
        if seen.setdefault(name, place) != place:
            raise AnnotationError(f'{path} {place}: names {name!r}, as {seen[name]} does')
    if not names:
        raise AnnotationError(f'{path}: names no class; expected one a line')
    return names


def names_beside(setting: str, encoding: str | None = None) -> tuple[str, list[str]] | None:
    """File and class names of the first of `BESIDE` in the folder of a list; None where there is none.

    Parameters as those of `read_class_names`.
    """
    folder = os.path.dirname(setting)
    path = next((path for name in BESIDE if os.path.isfile(path := os.path.join(folder, name))), None)
    if path is None or os.path.samefile(path, setting):
        return None
    return path, read_class_names(path, encoding)


class ClassNames:
    """Finds a class by name, also where spaces became underscores or capitals changed."""

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self._exact = {name: i for i, name in enumerate(self.names)}
        plain = Counter(map(letters_of, self.names))
        self._loose = {letters_of(name): i for i, name in enumerate(self.names) if plain[letters_of(name)] == 1}

    def find(self, name: str) -> int | None:
        """Index of a class, or None."""
        return self._exact.get(name, self._loose.get(letters_of(name)))


def _text_of(path: str, encoding: str | None) -> str:
    try:
        text = read_text(path)
        if encoding is None or not undecoded(text):
            return text
    except AnnotationError:
        if encoding is None:
            raise
    return read_text(path, encoding)


def _numbered(lines: list[tuple[int, str]]) -> list[str] | None:
    """Names behind numbers from 0 or 1, in the order of these; None where lines are anything else."""
    names = {}
    for _, line in lines:
        number, _, name = line.replace('\t', ' ').partition(' ')
        if not is_integer(number) or not name.strip() or int(number) in names:
            return None
        names[int(number)] = name.strip()
    first = min(names, default=0)
    if first not in (0, 1) or sorted(names) != list(range(first, first + len(names))):
        return None
    return [names[number] for number in sorted(names)]


def _in_order(path: str, content) -> list[str]:
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return content
    numbers = {}
    if isinstance(content, dict):
        by_name = all(isinstance(value, int) or is_integer(str(value)) and not is_integer(key)
                      for key, value in content.items())
        numbers = {str(value if by_name else key): key if by_name else value for key, value in content.items()}
    if not isinstance(content, dict) or len(numbers) < len(content) or not all(
            is_integer(number) and isinstance(name, str) for number, name in numbers.items()):
        raise AnnotationError(f'{path}: expected class names as {{"name": number, ...}}, {{"number": "name", ...}} or '
                              '["name", ...], each number once')
    names = {int(number): name for number, name in numbers.items()}
    if sorted(names) != list(range(len(names))):
        raise AnnotationError(f'{path}: the numbers of its {len(names)} classes must run from 0 to {len(names) - 1}, '
                              f'got {", ".join(map(str, sorted(names)))}')
    return [names[number] for number in range(len(names))]
