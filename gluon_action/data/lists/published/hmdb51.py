"""HMDB51: a file of names and numbers for each class and split."""
from __future__ import annotations

import glob
import os
import re

from ....errors import AnnotationError
from ..classes.labels import named
from ..question import HMDB51_NAME, Entry, ParsedList, Question, where
from ..tables.columns import split_row
from ..text import read_lines


def parse_hmdb51(question: Question) -> ParsedList:
    """``class_test_split1.txt``, or a folder of them: file names with 1 for training, 2 for testing, 0 for neither."""
    files = hmdb51_files(question.setting)
    if not files:
        raise AnnotationError(f'{question.setting}: holds no files such as brush_hair_test_split1.txt')
    names = {path: os.path.basename(path).split('_test_split')[0] for path in files}
    wanted, entries = '1' if question.split == 'train' else '2', []
    for path in files:
        for line, text in read_lines(path, question.encoding):
            video, code = [*split_row(text, None, 1), ''][:2]
            if code not in ('0', '1', '2'):
                raise AnnotationError(f'{where(path, line)}: expected a file name and 0, 1 or 2, got {text!r}')
            if code == wanted:
                stem = os.path.splitext(video)[0]
                place = f'{names[path]}/{video}'
                entries.append(Entry(place, (names[path],), path, line,
                                     places=(place, f'{names[path]}/{stem}', video, stem)))
    of_files = None if question.usual else (question.setting, sorted(set(names.values())))
    parsed = named(question, entries, of_files)
    parsed.files = files
    return parsed


def hmdb51_files(setting: str) -> list[str]:
    """Return the files of one split: of split 1 for a folder, else those that the pattern matches, or the file."""
    if os.path.isfile(setting):
        return [setting] if '_test_split' in os.path.basename(setting) else []
    pattern = setting if '*' in setting else os.path.join(glob.escape(setting), '*_test_split1.txt')
    return sorted(glob.glob(pattern))


def looks_like_hmdb51(question: Question) -> bool:
    """Whether the list is one of HMDB51's own: its file and all videos in it are called as there, with 0, 1 or 2."""
    name = re.fullmatch(r'(.+)_test_split\d\.\w+', os.path.basename(question.setting))
    return name is not None and all(
        HMDB51_NAME.match(text) and f'_{name[1]}_' in text and text.split()[-1] in ('0', '1', '2')
        for _, text in question.lines)
