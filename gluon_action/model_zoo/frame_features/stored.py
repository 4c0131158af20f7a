"""Stored models of features: one network or a weighted sum of several, quantized or not, as two files by a prefix."""
from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np

from ...errors import OutputError, UsageError, WeightsError
from ...feature_architecture import FILE as FLAGS
from ...feature_architecture import Architecture
from ...files import Changed, check_sealed, describe, open_file, parse_json, to_json, write_file
from ..fit import assign
from ..params_file import read_arrays, replace_arrays
from .combined import CombinedNetwork
from .network import FeatureNetwork, construct

#: What a prefix is where a folder is named: the prefix that an evaluation writes into a train_dir.
NAME = 'inference_model'
FORMAT = 1
#: A quantized array ``key`` is stored as uint8 numbers of levels under ``key + QUANTS``, in the array's shape, and the
#: float32 levels (at most 256) under ``key + SPACE``, as YouTube-8M's winners named them. One of half the precision is
#: stored as float16 under its own key.
QUANTS, SPACE = '_quants', '_space'
#: How far the sum of weights that are given, rounded as they may be, may be from one.
SUM_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Member:
    """A network of a stored model.

    Attributes
    ----------
    architecture : Architecture
    arrays : dict of str to ndarray
        As stored, with `QUANTS` and `SPACE` of what is quantized.
    weight : float
        Of its probabilities in the sum.
    """

    architecture: Architecture
    arrays: dict[str, np.ndarray]
    weight: float = 1.0

    @property
    def quantized(self) -> bool:
        """Whether some of its arrays are of fewer than 32 bits."""
        return any(array.dtype != np.float32 for array in self.arrays.values())

    @property
    def nbytes(self) -> int:
        """Bytes of its arrays in the file."""
        return sum(array.nbytes for array in self.arrays.values())

    @property
    def count(self) -> int:
        """Numbers of its parameters, however they are stored."""
        return sum(array.size for key, array in self.arrays.items() if not self._is_space(key))

    def parameters(self) -> Iterator[tuple[str, np.ndarray]]:
        """Yield key and float32 array of each parameter, one after the other: a large network is never there twice."""
        for key, array in self.arrays.items():
            if key.endswith(QUANTS):
                name = key.removesuffix(QUANTS)
                yield name, self.arrays[name + SPACE][array]
            elif not self._is_space(key):
                yield key, array.astype(np.float32, copy=False)

    def levels(self, net: FeatureNetwork) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return what is quantized by its name in the graph of its network: numbers of levels, and the levels."""
        names = {key: parameter.name for key, parameter in net._collect_params_with_prefix().items()}
        return {names[key.removesuffix(QUANTS)]: (array, self.arrays[key.removesuffix(QUANTS) + SPACE])
                for key, array in self.arrays.items() if key.endswith(QUANTS)}

    def _is_space(self, key: str) -> bool:
        return key.endswith(SPACE) and key.removesuffix(SPACE) + QUANTS in self.arrays


@dataclass(frozen=True)
class StoredModel:
    """What `read_stored` found.

    Attributes
    ----------
    prefix : Path
    members : list of Member
    about : dict
        What the writer said of it: where it comes from, how it was quantized.
    sha256 : str
        Of the file of parameters.
    """

    prefix: Path
    members: list[Member]
    about: dict[str, Any] = field(default_factory=dict)
    sha256: str = ''

    @property
    def identity(self) -> str:
        """SHA-256 of all that decides what it says: parameters, networks as they draw frames, and weights."""
        networks = [[member.architecture.to_json(), member.weight] for member in self.members]
        return hashlib.sha256(json.dumps([self.sha256, networks], sort_keys=True).encode()).hexdigest()

    @property
    def weights(self) -> list[float]:
        """Weights of the members."""
        return [member.weight for member in self.members]

    @property
    def architecture(self) -> Architecture:
        """The only network's, or the first one's: input and classes are the same for all."""
        return self.members[0].architecture

    @property
    def quantized(self) -> bool:
        """Whether a member is."""
        return any(member.quantized for member in self.members)

    @property
    def origin(self) -> dict[str, Any]:
        """Backbone and PCA that the features it was trained on came through; empty where nothing said so."""
        return self.about.get('features') or {}

    def single(self, who: str) -> Member:
        """Return the only member, in float32: what training can go on from.

        Parameters
        ----------
        who : str
            The flag that named the model, for the message.

        Raises
        ------
        UsageError
            When there are several, or it is quantized.
        """
        if len(self.members) > 1:
            raise UsageError(f'{who} {self.prefix}: is a sum of {len(self.members)} networks, and one is needed: name '
                             'one of those that it was made of')
        if self.quantized:
            origin = self.about.get('from')
            raise UsageError(f'{who} {self.prefix}: is quantized, and float32 is needed: name the model that it was '
                             f'quantized from{f" ({origin})" if origin else ""}')
        return self.members[0]

    def drawing(self, given: Mapping[str, Any]) -> StoredModel:
        """Return the same model with frames drawn as `given` says, options of `Architecture` by name."""
        members = [replace(member, architecture=member.architecture.merged(given)[0]) for member in self.members]
        return replace(self, members=members)

    def build(self, ctx=None):
        """Return the network, with its weights, to evaluate: features float32 (N, T, D) to probabilities (N, K).

        Parameters
        ----------
        ctx : mxnet.Context or list of them, optional

        Raises
        ------
        WeightsError
            When an array is missing, not of the network, or of another shape.
        """
        networks: list[FeatureNetwork] = []
        for number, member in enumerate(self.members):
            net = construct(member.architecture).only_evaluates()
            where = str(self.prefix) + (f', member {number}' if len(self.members) > 1 else '')
            assign(net, dict(member.parameters()), where, ctx=ctx or mx.cpu())
            net.levels = member.levels(net)
            networks.append(net)
        return networks[0] if len(networks) == 1 else CombinedNetwork(networks, self.weights)


def input_of(architecture: Architecture) -> dict[str, Any]:
    """Return what networks must have in common to be one model: what they take, and which classes they score."""
    return {'feature_names': architecture.feature_names, 'feature_sizes': architecture.feature_sizes,
            'frame_features': architecture.frame_features, 'frames': architecture.length,
            'num_classes': architecture.num_classes}


def prefix_of(path: str | os.PathLike) -> Path:
    """Return the prefix that a user means: itself, one of its two files, or the `NAME` in a folder."""
    path = Path(path).expanduser()
    if path.is_dir():
        return path / NAME
    return path.with_suffix('') if path.suffix in ('.params', '.json') and path.is_file() else path


def files_of(prefix: str | os.PathLike) -> tuple[Path, Path]:
    """Return the two files of a prefix: parameters and description."""
    return Path(f'{prefix}.params'), Path(f'{prefix}.json')


def is_stored(path: str | os.PathLike) -> bool:
    """Whether a path means a stored model: one that is there, or the folder of a run that will have one."""
    prefix = prefix_of(path)
    return all(file.is_file() for file in files_of(prefix)) or (prefix.parent / FLAGS).is_file() and prefix.name == NAME


def check_new(prefix: str | os.PathLike, who: str) -> None:
    """Raise `UsageError` where a stored model of this prefix is there already; `who` is the flag that named it."""
    for path in files_of(prefix):
        if path.exists() or path.is_symlink():
            raise UsageError(f'{who} {prefix}: {path.name} is there already; name another prefix, or remove it')


def write_stored(prefix: str | os.PathLike, members: Sequence[tuple[Architecture, Mapping[str, np.ndarray]]],
                 weights: Sequence[float] | None = None, *, about: Mapping[str, Any] | None = None,
                 overwrite: bool = False) -> Path:
    """Write a stored model.

    Parameters
    ----------
    prefix : path
        Of the two files; its folder is made.
    members : sequence of (Architecture, mapping of str to ndarray)
        Arrays float32 or float16, or quantized, see `QUANTS`.
    weights : sequence of float, optional
        One for each member, which sum to one; equal ones by default.
    about : mapping, optional
        For the description.
    overwrite : bool
        Replace what is there.

    Returns
    -------
    Path
        The prefix.

    Raises
    ------
    UsageError
        When files are there, weights are not as many as members or do not sum to one, or members differ in what they
        take.
    OutputError
        When it cannot be written.
    """
    weights = check_weights(weights, len(members))
    check_common(members[0][0], [architecture for architecture, _ in members])
    prefix = Path(prefix).expanduser()
    if not overwrite:
        check_new(prefix, 'the prefix')
    try:
        prefix.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f'{prefix.parent}: cannot be made: {error.strerror or error}') from error
    params, description = files_of(prefix)
    many = len(members) > 1
    replace_arrays(params, {f'member{number}.{key}' if many else key: array
                            for number, (_, arrays) in enumerate(members) for key, array in arrays.items()})
    # The description is last: it vouches for the parameters.
    write_file(description, to_json({
        'format': FORMAT,
        'members': [{'architecture': architecture.to_json(), 'weight': weight}
                    for (architecture, _), weight in zip(members, weights)],
        'about': dict(about or {}),
        'params': describe(params.parent, [params.name])[params.name]}))
    return prefix


def check_weights(weights: Sequence[float] | None, count: int, flag: str = '--weights') -> list[float]:
    """Return the weights of so many members: equal ones for None. Rounded ones are scaled to sum to one.

    Raises
    ------
    UsageError
        When they are not as many, not finite and at least 0, or do not sum to one.
    """
    if not count:
        raise UsageError('a stored model has at least one member, got none')
    if weights is None:
        return [1 / count] * count
    if len(weights) != count:
        raise UsageError(f'{flag}: there are {count} models and {len(weights)} weights; give one weight for each model')
    if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
        raise UsageError(f'{flag}: each is a number of 0 or more, got {", ".join(f"{weight:g}" for weight in weights)}')
    total = math.fsum(weights)
    if abs(total - 1) > SUM_TOLERANCE:
        scaled = ' '.join(f'{weight / total:.4f}' for weight in weights) if total else ''
        raise UsageError(f'{flag}: sum to {total:g}, they must sum to 1' + (f'; scaled they are {scaled}' if scaled
                                                                            else ''))
    return [weight / total for weight in weights]


def check_common(first: Architecture, others: Sequence[Architecture], names: Sequence[str] | None = None) -> None:
    """Raise `UsageError` where networks do not take the same input or score other classes.

    Parameters
    ----------
    first : Architecture
    others : sequence of Architecture
    names : sequence of str, optional
        What to call `others`, of which the first is `first`.
    """
    wanted = input_of(first)
    for number, other in enumerate(others):
        for option, value in input_of(other).items():
            if value != wanted[option]:
                here, there = (names[number], names[0]) if names else (f'member {number}', 'member 0')
                raise UsageError(f'{here}: has {option}={value!r}, and {there} has {wanted[option]!r}; models that are '
                                 'added up take the same input and score the same classes')


def read_stored(path: str | os.PathLike, who: str = '') -> StoredModel:
    """Read a stored model and check every byte of it.

    Parameters
    ----------
    path : path
        A prefix, one of its files, or a train_dir, of which `NAME` is meant.
    who : str
        The flag that named it, for messages.

    Raises
    ------
    WeightsError
        When it is missing, torn, changed, or another kind of file.
    """
    prefix = prefix_of(path)
    params, description = files_of(prefix)
    called = f'{who} {prefix}'.strip()
    if not (params.is_file() and description.is_file()):
        raise WeightsError(f'{called}: {_what_is_missing(prefix, params, description)}')
    try:
        with open_file(description) as file:
            about = parse_json(file.read())
        members, seal = about['members'], about['params']
        if about['format'] != FORMAT:
            raise WeightsError(f'{description}: is of format {about["format"]}, this program reads {FORMAT}')
        check_sealed(params, seal)
        arrays = read_arrays(params)
        found = [Member(Architecture.from_json(member['architecture'], description), part,
                        float(member['weight']))
                 for member, part in zip(members, _parts(arrays, len(members)), strict=True)]
        extra = about.get('about', {})
        _check_members(found, extra)
    except Changed as change:
        raise WeightsError(f'{params}: is not what {description.name} vouches for ({change.what} {change.found} '
                           f'instead of {change.expected}): it was cut, changed or belongs to another model; write '
                           'it again') from change
    except (OSError, ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        if isinstance(error, UsageError):
            raise
        raise WeightsError(f'{called}: is no stored model, or a damaged one ({type(error).__name__}: {error}); write '
                           'it again') from error
    return StoredModel(prefix, found, extra, seal['sha256'])


def _check_members(members: Sequence[Member], about: Any) -> None:
    if not isinstance(about, dict):
        raise ValueError('what it says of itself is no object')
    for number, member in enumerate(members):
        if not 0 <= member.weight < math.inf:
            raise ValueError(f'member {number} has the weight {member.weight}')
        for key, array in member.arrays.items():
            space = member.arrays.get(key.removesuffix(QUANTS) + SPACE)
            if key.endswith(QUANTS) and (array.dtype != np.uint8 or space is None or space.ndim != 1
                                         or array.size and int(array.max()) >= len(space)):
                raise ValueError(f'{key} are no numbers of levels that are stored')


def _parts(arrays: Mapping[str, np.ndarray], count: int) -> list[dict[str, np.ndarray]]:
    if count == 1:
        return [dict(arrays)]
    parts: list[dict[str, np.ndarray]] = [{} for _ in range(count)]
    for key, array in arrays.items():
        number, _, name = key.removeprefix('member').partition('.')
        parts[int(number)][name] = array
    return parts


def _what_is_missing(prefix: Path, params: Path, description: Path) -> str:
    if Path(f'{prefix}.index').is_file() or Path(f'{prefix}.meta').is_file():
        return ('is a checkpoint of TensorFlow; scripts/youtube8m/import_checkpoint.py makes a train_dir of it that '
                'can be named here')
    there = next((path.name for path in (params, description) if path.is_file()), None)
    if there:
        missing = description if there == params.name else params
        return f'there is a {there}, but no {missing.name} beside it; copy both files'
    if prefix.name == NAME and (prefix.parent / 'checkpoints').is_dir():
        return (f'the run has no {NAME} yet; scripts/youtube8m/eval.py --train_dir={prefix.parent} --run_once '
                '--build_only writes it')
    return (f'there is no stored model; {params.name} and {description.name} are what eval, quantize and '
            'graph_ensemble write')
