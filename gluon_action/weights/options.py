"""Options of every command that takes published weights: which index, and whether what has no digest is trusted."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..options import option


@dataclass
class WeightsOptions:
    """Where published weights are looked for, and what is taken."""

    weights_index: str = option(
        '', 'file or address of an index of weights that comes before the own one; by default $GLUON_ACTION_INDEX',
        '--index', group='weights', metavar='FILE')
    trust_first_use: bool = option(
        False, 'take published weights without a digest as they come the first time; later downloads are held to that',
        group='weights')


def looking(options: Any) -> dict[str, Any]:
    """Return these options, of a configuration that has them, as `find_start` and `get_model` take them."""
    return {'index': options.weights_index or None, 'trust_first_use': options.trust_first_use}
