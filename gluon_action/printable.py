"""Texts for people: names that others gave to classes and files, of which what acts is shown, and times."""
from __future__ import annotations

import copy
import logging
import os
import re
from typing import Any

# Control characters, line and paragraph separators, marks that turn the direction of what follows, and single
# surrogates, which stand for bytes that are no UTF-8.
_ACTING = re.compile('[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]')
_SHORT = {'\n': r'\n', '\r': r'\r', '\t': r'\t'}


def printable(text: Any, *, lines: bool = False) -> str:
    r"""Return a text of which nothing acts on what shows it: ``'a\x1b[2J'`` is shown as ``a\x1b[2J``.

    Letters of every script stay as they are, and so do emoji. A byte of a file's name that is no UTF-8 is shown as
    ``\xd6``.

    Parameters
    ----------
    text : str, path or exception
    lines : bool
        Keep line breaks and tabs: for texts of several lines, which hold names that were made printable before.
    """
    text = os.fspath(text) if isinstance(text, os.PathLike) else str(text)
    return _ACTING.sub(lambda found: found[0] if lines and found[0] in '\n\t' else _escaped(found[0]), text)


def drawable(text: Any) -> str:
    """Return a text as Matplotlib takes it: `printable`, and not taken for a formula where it holds dollars."""
    return printable(text).replace('$', r'\$')


def duration(seconds: float) -> str:
    """Return a time as people say it: ``'1 h 02 min'``, ``'3 min 20 s'``, ``'4.2 s'``."""
    if seconds < 60:
        return f'{seconds:.1f} s'
    minutes, rest = divmod(round(seconds), 60)
    return f'{minutes} min {rest:02d} s' if minutes < 60 else f'{minutes // 60} h {minutes % 60:02d} min'


def _escaped(letter: str) -> str:
    code = ord(letter)
    if 0xdc80 <= code <= 0xdcff:
        code -= 0xdc00
    return _SHORT.get(letter) or (f'\\x{code:02x}' if code < 0x100 else f'\\u{code:04x}')


class PrintableFormatter(logging.Formatter):
    """Makes lines of a log: names among their arguments lose what acts, line breaks included."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        if isinstance(record.args, tuple):
            record = copy.copy(record)
            record.args = tuple(printable(value) if isinstance(value, (str, os.PathLike, BaseException)) else value
                                for value in record.args)
        return printable(super().format(record), lines=True)
