"""What a log begins with: what is trained or tested, on what, by what."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ..printable import printable

_NAMED = 8


def header(config: Any, net: Any, sets: Mapping[str, Any], *, command: str = '',
           versions: Mapping[str, str] | None = None, classes: Sequence[str] | None = None, trains: bool = False
           ) -> list[str]:
    """Return the lines.

    Parameters
    ----------
    config : RecognizerOptions
    net : HybridBlock or Exported
    sets : mapping
        Data sets by what they are for.
    command : str
        The command line.
    versions : mapping
        Of the packages that matter.
    classes : sequence of str, optional
        Names; those of the first data set by default.
    trains : bool
        Say too how many parameters learn.
    """
    first = next(iter(sets.values()))
    classes = first.classes if classes is None else classes
    names = ', '.join(map(printable, (classes or [])[:_NAMED])) + ', ...' * (len(classes or ()) > _NAMED)
    lists = ', '.join(f'{len(data)} {name} videos ({printable(data.setting)})' for name, data in sets.items())
    devices = f'{config.num_gpus} GPU{"s" * (config.num_gpus > 1)}' if config.num_gpus else 'the CPU' + (
        f' in {config.num_cpus} parts' if config.num_cpus > 1 else '')
    installed = ', '.join(f'{name} {version}' for name, version in (versions or {}).items())
    return [*([f'command: {printable(command)}'] if command else []), f'data: {lists}',
            f'classes: {first.num_classes}' + f' ({names})' * bool(names)
            + ', several of them a video' * bool(first.multi_label),
            f'network: {config.model or "exported"}{_size(net, trains)}',
            f'engine: {config.engine}, {installed}; {config.dtype} on {devices}, {config.num_workers} '
            f'process{"es" * (config.num_workers != 1)} that read{"s" * (config.num_workers == 1)}']


def _size(net: Any, trains: bool) -> str:
    """Say how many parameters a network has, where it can be asked: those of an exported graph have no shapes yet."""
    params = list(net.collect_params().values()) if hasattr(net, 'collect_params') else []
    if not params or not all(param.shape for param in params):
        return ''
    sizes = [(math.prod(param.shape), param.grad_req != 'null') for param in params]
    learning = f', {_millions(sum(size for size, learns in sizes if learns))} of them learn' * trains
    return f', {_millions(sum(size for size, _ in sizes))} parameters{learning}'


def _millions(count: int) -> str:
    return f'{count / 1e6:.2f} million' if count >= 1e5 else str(count)
