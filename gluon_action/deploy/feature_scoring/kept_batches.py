"""What an evaluation found in batches of records, kept while it runs: one that is interrupted resumes behind them."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...evaluate.scores.video_tags import VideoTagScoring
from ...unfinished import Unfinished, packed, stamp_of, unpacked

#: Most videos of a batch, and most ties of its last tags, that are believed of a file.
_MOST = 2 ** 20


class KeptBatches:
    """States of `VideoTagScores`, one for each batch of each file.

    Parameters
    ----------
    unfinished : Unfinished
    files : sequence of str
        Record files; what is kept of one that has changed since is not taken.
    scoring : VideoTagScoring
    """

    def __init__(self, unfinished: Unfinished, files: Sequence[str], scoring: VideoTagScoring):
        self._unfinished, self._files, self._scoring = unfinished, files, scoring
        self._found: dict[int, dict[int, dict[str, np.ndarray]]] = {}
        for line in unfinished.done:
            number, batch = line.get('file'), line.get('batch')
            if type(number) is type(batch) is int and 0 <= number < len(files) \
                    and line.get('stamp') == stamp_of(files[number]) is not None:
                try:
                    self._found.setdefault(number, {})[batch] = _state_of(line, scoring)
                except (ValueError, LookupError, TypeError, AttributeError):
                    continue

    def of(self, number: int) -> list[dict[str, np.ndarray]]:
        """Return the states of the first batches of a file, as many as there are in a row."""
        found = self._found.get(number, {})
        states: list[dict[str, np.ndarray]] = []
        while len(states) in found:
            states.append(found[len(states)])
        return states

    def add(self, number: int, batch: int, state: Mapping[str, np.ndarray]) -> None:
        """Keep the state of a batch of a file; both are counted from 0."""
        self._unfinished.add({
            'file': number, 'batch': batch, 'stamp': stamp_of(self._files[number]),
            'counts': state['counts'].tolist(), 'loss': state['loss'].tolist(), 'crowds': state['crowds'].tolist(),
            **{name: packed(state[name], kind) for name, (kind, _) in _arrays(self._scoring, 0).items()}})


def _arrays(scoring: VideoTagScoring, count: int) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Kind and shape of the arrays of a state of so many videos."""
    tags = (count, min(scoring.top, scoring.num_classes))
    return {'values': ('<f4', tags), 'classes': (scoring.class_kind.newbyteorder('<').str, tags), 'marks': ('u1', tags),
            'found': ('<i8', (scoring.num_classes + 1,)), 'positives': ('<i8', (scoring.num_classes,))}


def _state_of(line: Mapping[str, Any], scoring: VideoTagScoring) -> dict[str, np.ndarray]:
    """Return the state in a line; raises what it may where somebody else wrote it."""
    counts = np.array(line['counts'])
    if counts.shape != (3,) or counts.dtype != np.int64 or not 0 <= counts[0] <= counts[1] < _MOST \
            or not 0 <= counts[2] <= counts[0]:
        raise ValueError('are no counts of a batch')
    state = {name: unpacked(line[name], kind, shape)
             for name, (kind, shape) in _arrays(scoring, int(counts[0])).items()}
    state |= {'counts': counts, 'loss': np.array(line['loss'], np.float64),
              'crowds': np.array(line['crowds'], np.float64).reshape(-1, 3)}
    if state['loss'].shape != (1,) or len(state['crowds']) > _MOST or not all(
            np.isfinite(state[name]).all() for name in ('values', 'loss', 'crowds')) \
            or (state['classes'] >= scoring.num_classes).any() \
            or min(state['classes'].min(initial=0), state['found'].min(), state['positives'].min()) < 0:
        raise ValueError('is no state of these scores')
    return state
