"""What blocks inside a Gluon network give out."""
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import mxnet as mx
import numpy as np
from mxnet import autograd

from ...errors import UsageError


def endpoints_of(net: mx.gluon.Block, names: Sequence[str] | None = None) -> dict[str, mx.gluon.Block]:
    """Blocks of a network by name.

    Parameters
    ----------
    net : Block
    names : sequence of str, optional
        Attributes, inner ones joined by dots; by default ``net.endpoints``, else the outermost blocks.

    Raises
    ------
    UsageError
        For a name that no block has.
    """
    if names is None:
        named = [name for name in getattr(net, 'endpoints', ()) if name in net._children]
        names = named or list(net._children)
    return {name: _block_at(net, name) for name in names}


def outputs_of(net: mx.gluon.Block, blocks: Mapping[str, mx.gluon.Block], x: mx.nd.NDArray) -> dict[str, mx.nd.NDArray]:
    """What blocks inside a network give out while it scores `x`.

    Nothing runs by block inside a compiled graph. So the network computes operator by operator this once, and the
    graphs it has are kept for the rest of the training.

    Returns
    -------
    dict of str to NDArray
        In the order of `blocks`; of a block that runs several times the last output. Those that give no single array,
        or do not run, are left out.
    """
    outputs: dict[str, mx.nd.NDArray] = {}

    def keep(name: str) -> Callable:
        def hook(block, inputs, output):
            if isinstance(output, mx.nd.NDArray):
                outputs[name] = output
        return hook

    with contextlib.ExitStack() as stack:
        for name, block in blocks.items():
            stack.enter_context(block.register_forward_hook(keep(name)))
        stack.enter_context(_uncompiled(net))
        stack.enter_context(autograd.pause(train_mode=False))
        net(x)
    return {name: outputs[name] for name in blocks if name in outputs}


def outputs_on_cpu(net: mx.gluon.Block, blocks: Mapping[str, mx.gluon.Block],
                   data: np.ndarray) -> dict[str, np.ndarray]:
    """Return the same as arrays, of a network whose parameters lie on the CPU."""
    return {name: output.asnumpy() for name, output in outputs_of(net, blocks, mx.nd.array(data)).items()}


@contextlib.contextmanager
def _uncompiled(net: mx.gluon.Block) -> Iterator[None]:
    """Let a network compute without its compiled graphs, which ``net.hybridize(False)`` would throw away."""
    found: list[mx.gluon.HybridBlock] = []
    net.apply(lambda block: found.append(block) if getattr(block, '_active', False) else None)
    for block in found:
        block._active = False
    try:
        yield
    finally:
        for block in found:
            block._active = True


def _block_at(net: mx.gluon.Block, name: str) -> mx.gluon.Block:
    block = net
    for part in name.split('.'):
        if part not in block._children:
            inside = ', '.join(block._children) or 'none'
            raise UsageError(f'the network has no endpoint {name!r}: of {part!r} there is no block; the blocks there '
                             f'are {inside}')
        block = block._children[part]
    return block
