"""Lets a program that imports MXNet or GluonCV before gluon_action run: GluonCV's tutorials begin so.

``gluon_action_startup.pth`` imports this module when the interpreter starts. It loads nothing; it only waits for the
first import of one of them and prepares the process before, as ``import gluon_action`` would.
"""
import sys


class _BeforeMXNet:
    """A finder that is asked first, and lets gluon_action's find MXNet."""

    def find_spec(self, name, path=None, target=None):
        """Prepare the process when MXNet or GluonCV is about to be imported."""
        if name in ('mxnet', 'gluoncv') and self in sys.meta_path:
            sys.meta_path.remove(self)
            if 'gluon_action' not in sys.modules:
                from importlib.util import find_spec

                import gluon_action  # noqa: F401  (its import is what prepares)
                return find_spec(name)
        return None


sys.meta_path.insert(0, _BeforeMXNet())
