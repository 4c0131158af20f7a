"""A list of videos written as a table: what every other format says, in the one that everybody reads."""
from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Sequence

from ...printable import printable
from .annotations import Sample

_BOUNDS = {'start': lambda sample: sample.start, 'end': lambda sample: sample.end,
           'start_frame': lambda sample: None if sample.first is None else sample.first - 1,
           'end_frame': lambda sample: sample.last}


def as_table(samples: Sequence[Sample], root: str, classes: Sequence[str] | None = None, *,
             splits: Sequence[str] = ()) -> str:
    """Return a list as CSV with a header: path, label, and the part of the file where one is meant.

    Parameters
    ----------
    samples : sequence of Sample
    root : str
        Folder that the paths start from.
    classes : sequence of str, optional
        Names of the classes, which are written instead of their numbers where no reader could take them for something
        else. They belong beside the list in any case, as ``class_names.json``: a list need not have all of them.
    splits : sequence of str
        Of each sample, the split that it is of, for a list that holds several.
    """
    named = classes and not any(isinstance(sample.label, tuple) for sample in samples) and all(map(_is_plain, classes))
    columns = [name for name, of in _BOUNDS.items() if any(of(sample) is not None for sample in samples)]
    counted = any(sample.num_frames is not None for sample in samples)
    text = io.StringIO()
    rows = csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator='\n')  # quoted, a path may begin with "#"
    rows.writerow(['path', 'label', *columns, *(['num_frames'] if counted else []),
                   *(['split'] if splits else [])])
    for number, sample in enumerate(samples):
        label = ';'.join(map(str, sample.label)) if isinstance(sample.label, tuple) else \
            classes[sample.label] if named else sample.label
        bounds = (_BOUNDS[name](sample) for name in columns)
        rows.writerow([os.path.relpath(sample.path, root), label, *('' if bound is None else bound for bound in bounds),
                       *([sample.num_frames or ''] if counted else []), *splits[number:number + 1]])
    return text.getvalue()


def _is_plain(name: str) -> bool:
    """Whether a reader of lists takes a name for that name: it is no number, and nothing in it is lost."""
    return bool(re.search(r'[^\W\d]', name)) and not re.match(r'[-+.\d]', name) and name == name.strip() == \
        printable(name)
