"""Kinetics: CSV files of labels and of spans of YouTube videos."""
from __future__ import annotations

from ....errors import AnnotationError
from ..classes.labels import named
from ..question import Entry, ParsedList, Question, where
from ..tables.bounds import seconds_of
from ..tables.columns import of_split, published_bounds, records


def parse_kinetics(question: Question) -> ParsedList:
    """``label,youtube_id,time_start,time_end,split``; files are cut already and named id_000001_000011.mp4."""
    entries = []
    rows = records(question)
    for line, row in of_split(question, rows):
        place, label, bounds = where(question.setting, line), row.get('label', ''), published_bounds(row)
        if not label:
            raise AnnotationError(f'{place}: has no label; the test set of Kinetics is published without')
        start, end = seconds_of(bounds.get('start'), place), seconds_of(bounds.get('end'), place)
        if start is None or end is None or 'youtube_id' not in row:
            raise AnnotationError(f'{place}: needs youtube_id, time_start and time_end, which file names are made of')
        name = f'{row["youtube_id"]}_{int(start):06d}_{int(end):06d}'
        folders = dict.fromkeys((label, label.replace(' ', '_')))
        entries.append(Entry(name, (label,), question.setting, line,
                             places=(*(f'{folder}/{name}' for folder in folders), name)))
    several = {row['label'] for _, row in rows if row.get('label')} if len(rows) > len(entries) else None
    return named(question, entries, all_labels=several)
