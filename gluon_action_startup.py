"""Lets a program that imports MXNet before gluon_action run: GluonCV's tutorials begin so.

``gluon_action_startup.pth`` imports this module when the interpreter starts. It loads nothing; it only waits for the
first ``import mxnet`` and prepares the process before MXNet is loaded, as ``import gluon_action`` would.
"""
import sys


class _BeforeMXNet:
    """A finder that finds nothing, and is asked first."""

    def find_spec(self, name, path=None, target=None):
        """Prepare the process when MXNet is about to be imported."""
        if name == 'mxnet' and self in sys.meta_path:
            sys.meta_path.remove(self)
            import gluon_action  # noqa: F401  (its import is what prepares)
        return None


sys.meta_path.insert(0, _BeforeMXNet())
