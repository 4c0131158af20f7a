"""What every network of the zoo has in common."""
from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import mxnet as mx
import numpy as np
from mxnet import gluon

from ..errors import ModelError
from ..files import replacing
from ..nn import batch_norms
from .loading.fit import assign
from .loading.params_file import read_parameters
from .loading.preparation import adopt_preparation, write_preparation


class Recognizer(gluon.HybridBlock):
    """A network that names the action in a video.

    Attributes
    ----------
    num_classes : int
        Classes K that the head scores.
    feat_dim : int
        Width D of the features below the head.
    feat_ext : bool
        Whether the network returns features (B, D) instead of scores (B, K).
    num_segments, num_crop : int
        Rows of the input that belong to one video are ``num_segments * num_crop``, segments outermost.
    base : str
        GluonCV's name of the ImageNet network that the body can start from; empty for none.
    card : ModelCard or None
        What the zoo knows about it, and how its weights want frames prepared; set by `get_model`, and by whatever loads
        weights. Its classes are those of the data set in the model's name, whatever the head was trained on.
    row : dict or None
        Where the weights came from, as the index of published weights says it; None for others.
    start : Start or None
        The published weights that it started from; set by `get_model`.
    options : mapping
        Options of its model that `get_model` built it with.
    output_name : str
        What its scores are called in an exported model.
    classes : list of str or None
        Names of the classes, when the head was trained on a data set whose names are known.
    """

    #: How the keys of the head begin in a parameter file.
    head_prefixes = ('output.',)
    #: Parts of the keys of parameters that the ImageNet network has not.
    new_parameters: tuple[str, ...] = ()
    #: Whether its layers may be joined for scoring (`compute.on_mxnet.joined`); tests compare all of the zoo that may.
    may_be_joined = False

    num_classes = feat_dim = 0
    num_segments = num_crop = 1
    feat_ext = False
    base = ''
    output_name = 'logits'
    options: Mapping[str, Any] = MappingProxyType({})
    card = start = classes = row = None

    def batch_norms(self) -> list[gluon.nn.BatchNorm]:
        """Return the batch normalisations in order; partial BN keeps the first one learning."""
        return batch_norms(self)

    def plan_for(self, frames: int, height: int, width: int) -> None:
        """Lay the network out for an input of this size, where its layers depend on it; most do not."""

    def check_input(self, shape: tuple[int, ...]) -> None:
        """Refuse an input of a shape that the network would not take, or would score wrongly.

        Whatever engine computes the network asks; what this does not see, the engine refuses in words of its own.

        Raises
        ------
        ModelError
        """

    def input_shape(self, rows: int, size: int | None = None, frames: int | None = None) -> tuple[int, ...]:
        """Return the shape of an input of `rows` rows, as `ModelCard.input_shape` does."""
        return self.card.input_shape(rows, size, frames)

    def from_base(self, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return parameters by this network's keys from those of the ImageNet network `base`."""
        return arrays

    def fitted(self, arrays: dict) -> tuple[dict, dict[str, str]]:
        """Return parameters of another size of input fitted to this network's, and a note for each that changed.

        Parameters
        ----------
        arrays : dict
            Key -> array, as in a parameter file.
        """
        return arrays, {}

    def _build_cache(self, *args):
        with warnings.catch_warnings():
            if self.feat_ext:  # the head is there for parameter files
                warnings.filterwarnings('ignore', 'Parameter .* is not used by any computation')
            super()._build_cache(*args)

    def load_parameters(self, filename, ctx=None, allow_missing: bool = False, ignore_extra: bool = False,
                        cast_dtype: bool = True, dtype_source: str = 'current') -> None:
        """Load a file of this network or of GluonCV's, with or without segments; arguments as in Gluon.

        Raises
        ------
        WeightsError
            When the file cannot be read or is of another network; the message says which counts or keys differ.

        Notes
        -----
        What lies beside the file says how its weights want frames prepared; `card` follows it.
        """
        assign(self, read_parameters(filename), filename, ctx=ctx, allow_missing=allow_missing,
               ignore_extra=ignore_extra, cast_dtype=cast_dtype, dtype_source=dtype_source)
        adopt_preparation(self, filename)

    def save_parameters(self, filename, deduplicate: bool = False) -> None:
        """Write all parameters to a file; arguments as in Gluon.

        Where the weights want their input prepared in another way than the zoo's card says, ``FILE.json`` beside it
        keeps how.

        Raises
        ------
        OutputError
            When that cannot be written.
        """
        with replacing(os.path.realpath(filename)) as part:  # a checkpoint may be the same file under another name
            super().save_parameters(os.fspath(part), deduplicate)
        write_preparation(filename, self.card, self.row)

    def export(self, path, epoch: int = 0, remove_amp_cast: bool = True):
        """Write the network as MXNet's graph and parameters; arguments as in Gluon, notes as of `save_parameters`."""
        written = super().export(path, epoch, remove_amp_cast)
        write_preparation(f'{path}-{epoch:04d}.params', self.card, self.row)
        return written


def settle_shapes(net: gluon.HybridBlock, input_shape: tuple[int, ...]) -> None:
    """Give every parameter its shape from the shape of the input, without data; nothing is allocated.

    Raises
    ------
    ModelError
        When the input is too small for the network, or of another size than it was given.
    """
    try:
        output = net(mx.sym.var('data'))
        with contextlib.redirect_stdout(io.StringIO()):  # MXNet prints the arguments of a failed inference
            shapes, _, states = output.infer_shape(data=input_shape)
    except mx.MXNetError as error:
        cause = str(error).strip().splitlines()[-1]
        raise ModelError(f'{type(net).__name__} cannot take an input of {input_shape}; try a larger input_size'
                         f'{" or clip_length" if len(input_shape) == 5 else ""} ({cause})') from error
    known = dict(zip(output.list_arguments(), shapes))
    known.update(zip(output.list_auxiliary_states(), states))
    for parameter in net.collect_params().values():
        # The head has no part in feature extraction; its shape is known from the start.
        if parameter.name in known:
            parameter.shape = known[parameter.name]


def initialize_rest(net: gluon.HybridBlock, ctx: list[mx.Context]) -> None:
    """Initialise the parameters that hold nothing yet, by He's rule where the layer has none of its own."""
    he = mx.init.Xavier(rnd_type='gaussian', factor_type='in', magnitude=2)
    for parameter in net.collect_params().values():
        if parameter._data is None:
            parameter.initialize(ctx=ctx, default_init=he)
