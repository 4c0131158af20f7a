"""Networks that MXNet exported: a symbol and a file of parameters."""
from __future__ import annotations

import json
import re
import warnings
from collections.abc import Sequence

import mxnet as mx
from mxnet import gluon

from ...errors import WeightsError
from ...model_zoo.loading.params_file import read_arrays
from ...nn.same import SIZE_KEY
from ..symbol_file import attribute, read_symbol


def open_exported_network(symbol: str, params: str, contexts: Sequence[mx.Context]) -> gluon.SymbolBlock:
    """Return the network in two files that ``net.export`` wrote.

    Raises
    ------
    WeightsError
        When they are no such files.
    """
    graph = _graph(symbol)
    try:
        arrays = {name: mx.nd.array(array, dtype=array.dtype) for name, array in read_arrays(params).items()}
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # that the type of 'data' is open, as it should be
            network = gluon.SymbolBlock(mx.sym.load_json(json.dumps(graph)), [mx.sym.var('data')])
            network.collect_params().load_dict(arrays, list(contexts), cast_dtype=True, dtype_source='saved')
            return network
    except OSError as error:
        raise WeightsError(f'{params}: cannot be read: {error.strerror or error}') from error
    except (mx.MXNetError, ValueError, AssertionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise WeightsError(f'{symbol} and {params} are not an exported network: {reason}') from error


def exported_size(symbol: str) -> str | None:
    """Return the only size of input that the graph in a file fits, ``'frames,height,width'``; None where any does.

    Raises
    ------
    WeightsError
        When it is no such file.
    """
    size = attribute(_graph(symbol), 'data', SIZE_KEY)
    if size is not None and not re.fullmatch(r'\d{1,6},\d{1,6},\d{1,6}', size):
        raise WeightsError(f'{symbol}: fits inputs of the size {ascii(size)[:80]}, which is none')
    return size


def _graph(symbol: str) -> dict:
    try:
        return read_symbol(symbol)
    except OSError as error:
        raise WeightsError(f'{symbol}: cannot be read: {error.strerror or error}') from error
    except ValueError as error:
        raise WeightsError(f'{symbol}: no graph that MXNet exported, or a damaged one: {error}') from error
