"""What the networks of the zoo cost, as it was counted and measured: read from ``costs.json`` beside this module.

``benchmarks/zoo_costs.py`` writes that file.
"""
from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ...errors import ModelError
from ...files import write_file

#: The file of the package.
COSTS = Path(__file__).with_name('costs.json')


@dataclass(frozen=True)
class ModelCost:
    """What one view costs a model.

    Attributes
    ----------
    model : str
    view : tuple of int
        Shape of the view: (C, H, W), (C, T, H, W), or (T, D) of features.
    options : dict
        Options of ``get_model`` that the network has beside the usual ones.
    parameters : int
        Numbers that are learnt.
    macs : int
        Multiply-accumulates of convolutions, dense layers and matrix products; a FLOP count is about twice as many.
    latency_ms : float or None
        Median milliseconds of processor time that a view by itself takes on one thread; None where it was not measured.
    runs : int
        That the median is of.
    timed : str
        Name of the model that was timed; another one where only the head differs.
    """

    model: str
    view: tuple[int, ...]
    options: dict
    parameters: int
    macs: int
    latency_ms: float | None = None
    runs: int = 0
    timed: str = ''


@dataclass(frozen=True)
class ZooCosts:
    """The whole file.

    Attributes
    ----------
    measured : dict
        When, on which machine, by which versions and how many threads the latencies were measured, and what else ran.
    models : tuple of ModelCost
    """

    measured: dict[str, str | int]
    models: tuple[ModelCost, ...]

    def of(self, model: str, view: tuple[int, ...], options: dict | None = None) -> ModelCost | None:
        """Return what a view of this shape costs the model with these options; None where it is not known."""
        wanted = model, tuple(view), options or {}
        return next((cost for cost in self.models if (cost.model, cost.view, cost.options) == wanted), None)


def read_costs(path: str | Path = COSTS) -> ZooCosts:
    """Read a file of costs.

    Raises
    ------
    ModelError
        When it cannot be read, or is no such file.
    """
    try:
        record = json.loads(Path(path).read_text(encoding='utf-8'))
        models = [ModelCost(**{**cost, 'view': tuple(cost['view'])}) for cost in record['models']]
        return ZooCosts(dict(record['measured']), tuple(models))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ModelError(f'{path}: is no file of costs ({type(error).__name__}: {error}); '
                         'benchmarks/zoo_costs.py writes one') from error


def write_costs(costs: ZooCosts, path: str | Path = COSTS) -> None:
    """Write a file of costs, a line a view."""
    lines = ',\n  '.join(json.dumps(asdict(cost)) for cost in costs.models)
    measured = json.dumps(costs.measured, indent=1).replace('\n', '\n ')
    write_file(path, f'{{\n "measured": {measured},\n "models": [\n  {lines}\n ]\n}}\n')
