"""Models that other installed packages bring, by entry points of the group `GROUP`."""
from __future__ import annotations

import importlib.metadata
import logging

from ..printable import printable

#: Each entry point of this group names a module that registers models when it is imported.
GROUP = 'gluon_action.models'

_log = logging.getLogger(__name__)
_imported: set[tuple[str, str]] = set()


def import_installed_models() -> None:
    """Import the modules that installed packages name in `GROUP`, each once.

    One that fails is told in a line and left out: all other models are there.
    """
    for point in importlib.metadata.entry_points(group=GROUP):
        if (point.name, point.value) in _imported:
            continue
        _imported.add((point.name, point.value))  # before it is imported: it may ask for models itself
        try:
            point.load()
        except (Exception, SystemExit) as error:
            package = f'{point.dist.name} {point.dist.version}' if point.dist else 'an installed package'
            _log.warning('%s: its models are left out, because %s (entry point %s of %s) fails with %s: %s; mend it, '
                         'or uninstall the package', printable(package), printable(point.value),
                         printable(point.name), GROUP, type(error).__name__, printable(error))
