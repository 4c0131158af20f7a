"""A stored model: its networks with their arrays, which may be quantized, and their weights in the sum."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mxnet as mx
import numpy as np

from ....errors import UsageError
from ....feature_architecture import Architecture
from ...loading.fit import assign
from ..network import FeatureNetwork, construct
from .combined import CombinedNetwork

#: A quantized array ``key`` is stored as uint8 numbers of levels under ``key + QUANTS``, in the array's shape, and the
#: float32 levels (at most 256) under ``key + SPACE``, as YouTube-8M's winners named them. One of half the precision is
#: stored as float16 under its own key.
QUANTS, SPACE = '_quants', '_space'


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
        """Return the only member, in float32: what training can resume from.

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
