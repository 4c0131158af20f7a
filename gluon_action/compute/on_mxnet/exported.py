"""Networks that MXNet exported: a symbol and a file of parameters."""
from __future__ import annotations

import warnings
from collections.abc import Sequence

import mxnet as mx
from mxnet import gluon

from ...errors import WeightsError
from ...nn.same import SIZE_KEY


def open_exported_network(symbol: str, params: str, contexts: Sequence[mx.Context]) -> gluon.SymbolBlock:
    """Return the network in two files that ``net.export`` wrote.

    Raises
    ------
    WeightsError
        When they are no such files.
    """
    try:
        mx.sym.load(symbol)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # that the type of 'data' is open, as it should be
            return gluon.SymbolBlock.imports(symbol, ['data'], params, ctx=list(contexts))
    except (mx.MXNetError, ValueError, AssertionError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise WeightsError(f'{symbol} and {params} are not an exported network: {reason}') from error


def exported_size(symbol: str) -> str | None:
    """Return the only size of input that the graph in a file fits, ``'frames,height,width'``; None where any does."""
    return mx.sym.load(symbol).attr_dict().get('data', {}).get(SIZE_KEY)
