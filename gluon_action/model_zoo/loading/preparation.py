"""How the weights of a file want their input prepared: what lies beside the file says it, and a network's card follows.

Beside parameters of a run lies its ``config.json``. Beside others lies ``FILE.params.json``, unless they come from no
published weights and the zoo's card of the network says the same. Where both are there, the file's own note counts.
"""
from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import ModelError, OutputError, WeightsError
from ...files import to_json, write_file
from ...run_config import read_run_config
from ...weights.index import INPUT

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Preparation:
    """What is known of the weights in a file beside their values.

    Attributes
    ----------
    input : dict
        What differs from the zoo's card, or may: see :meth:`gluon_action.model_zoo.ModelCard.prepared`.
    row : dict or None
        Published weights that they are, or that training started from; see `describe_row`.
    published : bool
        Whether they are the published ones themselves.
    run : dict or None
        What ``config.json`` of their run says, where it was that which was asked; see `read_run_config`.
    classes : list of str or None
        Names of the classes of their head, where the file's own note says them.
    """

    input: dict[str, Any]
    row: dict[str, Any] | None = None
    published: bool = False
    run: dict[str, Any] | None = None
    classes: list[str] | None = None


def describe_row(row) -> dict[str, Any]:
    """Return what files keep of a row of the index of published weights.

    Parameters
    ----------
    row : gluon_action.weights.Row
    """
    return {**{name: getattr(row, name) for name in ('model', 'tag', 'publisher', 'licence', 'top1', 'top5', 'protocol',
                                                     'average', 'input', 'options')},
            'digests': [file.digest for file in row.files]}


def file_beside(path: str | os.PathLike) -> Path:
    """Return the name of what lies beside a file of parameters: ``x.params.json`` for ``x.params``."""
    return Path(f'{os.fspath(path)}.json')


def write_preparation(path: str | os.PathLike, card, row: Mapping[str, Any] | None = None, *,
                      published: bool = False, classes: Sequence[str] | None = None) -> None:
    """Note beside a file of parameters whose weights they are and what their card says otherwise than the zoo's.

    Where there is nothing of that to say, a note that is there goes.

    Parameters
    ----------
    path : path
        The file of parameters.
    card : ModelCard or None
        Of the network that was saved.
    row, published, classes
        As in `Preparation`. With a row there is a note in any case: it has the options that the network needs.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    beside = file_beside(path)
    if card is not None and (card.preparation or row):
        write_file(beside, to_json({'model': card.name, 'preparation': card.preparation, 'row': row,
                                    'published': published, **({'classes': list(classes)} if classes else {})}))
        return
    try:
        with contextlib.suppress(FileNotFoundError):
            beside.unlink()
    except OSError as error:
        raise OutputError(f'{beside}: says how other weights were prepared and cannot be removed: '
                          f'{error.strerror or error}') from error


def read_preparation(path: str | os.PathLike) -> Preparation | None:
    """Return what lies beside a file of parameters, or inside a folder of a run; None where nothing does.

    Raises
    ------
    WeightsError
        When it is there and cannot be understood: weights prepared in another way score wrongly, and nothing shows it.
    """
    path = Path(path).expanduser()
    for beside in map(file_beside, (path, path.resolve())):
        if beside.is_file():
            return _read(beside)
    about = read_run_config(path)
    return None if about is None else preparation_of_run(about, path)


def preparation_of_run(about: dict[str, Any], path: str | os.PathLike) -> Preparation:
    """Return how the weights of a run want their input: as it took its own, and else as those that it started from.

    Parameters
    ----------
    about : dict
        What ``config.json`` of the run, or a checkpoint, says.
    path : path
        What is of the run, for messages.

    Raises
    ------
    WeightsError
        When it cannot be understood.
    """
    row = part_of(part_of(about, 'model'), 'row') or None
    input = {**part_of(row or {}, 'input'), **input_of_run(about)}
    return Preparation(_checked(input, f'config.json of the run of {path}'), row, run=about)


def input_of_run(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run says of its input, as rows of the index name it; see `preparation_of_run`."""
    config, model = part_of(about, 'config'), part_of(about, 'model')
    said = {'mean': model.get('mean'), 'std': model.get('std'), 'input_size': config.get('input_size'),
            'clip_sampling': config.get('clip_sampling')}
    if not config.get('slowfast'):  # of which --new-length is what both pathways look at
        said |= {'clip_length': config.get('new_length'), 'clip_stride': config.get('new_step')}
    if config.get('clip_sampling') == 'spread':
        said['clip_stride'] = about.get('clip_stride')  # as far apart as the frames usually lay
    return {name: value for name, value in said.items() if value is not None}


def part_of(of: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object inside another one that was read; {} where there is none."""
    return of[name] if isinstance(of.get(name), dict) else {}


def adopt_preparation(net, path: str | os.PathLike, *, head: bool = True) -> None:
    """Give a network that has taken over a file of parameters the card that goes with them; says so where it changes.

    Parameters
    ----------
    net : Recognizer
    path : path
        The file.
    head : bool
        Whether the network's head is the file's too, and so are the names of its classes.

    Raises
    ------
    WeightsError
        When what lies beside the file cannot be understood, or is of another network or one with other options.
    """
    if net.card is None:
        return
    found = read_preparation(path) or Preparation({})
    card, options = prepared_for(net.card, found, path), (found.row or {}).get('options') or {}
    missing = [f'{name}={value!r}' for name, value in options.items() if net.options.get(name) != value]
    if missing:
        raise WeightsError(f'{path}: these weights are of a {card.name} with {", ".join(missing)}, which this network '
                           'was built without; pass that to get_model')
    if card != net.card:
        _log.warning('%s: these weights were trained on %s; the card of the network says so from here on', path,
                     said(card, net.card))
        net.card = card
    net.row = found.row
    if head and found.classes and len(found.classes) == net.num_classes:
        net.classes = found.classes


def prepared_for(card, found: Preparation, path: str | os.PathLike):
    """Return a model's card as the weights of a file want it.

    Raises
    ------
    WeightsError
        When they were trained on frames of other channels.
    """
    try:
        return card.prepared(found.input)
    except ModelError as error:
        raise WeightsError(f'{path}: what lies beside it is of another network: {error}') from error


def said(card, other) -> str:
    """Say in words what of a card's preparation differs from another's."""
    def words(value):
        return ' '.join(f'{number:g}' for number in value) if isinstance(value, tuple) else str(value)
    return ', '.join(f'{name.replace("_", " ")} {words(getattr(card, name))} instead of {words(getattr(other, name))}'
                     for name in INPUT if getattr(card, name) != getattr(other, name))


def _read(beside: Path) -> Preparation:
    try:
        found = json.loads(beside.read_text(encoding='utf-8'))
        row = found['row'] if isinstance(found.get('row'), dict) else None
        return Preparation(_checked(found['preparation'], beside), row, bool(row and found.get('published')),
                           classes=_names(found.get('classes')))
    except OSError as error:
        raise WeightsError(f'{beside}: cannot be read: {error.strerror or error}') from error
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f'{beside}: does not say how the weights beside it were prepared ({error}); restore it, or '
                           "remove it if they want what the zoo's card says") from error


def _names(classes: Any) -> list[str] | None:
    if classes is not None and not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise ValueError(f'classes cannot be {classes!r}')
    return classes


def _checked(input: Mapping[str, Any], where: str | os.PathLike) -> dict[str, Any]:
    """Refuse numbers that no preparation has."""
    found = {}
    for name, value in input.items():
        if name not in INPUT:
            continue
        right, _ = INPUT[name]
        if not right(value):
            raise WeightsError(f'{where}: {name} cannot be {value!r}')
        found[name] = value
    return found
