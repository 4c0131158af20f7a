"""Networks of which only names and shapes are looked at."""
from contextlib import contextmanager
from unittest import mock

from mxnet import gluon

from gluon_action.model_zoo import get_model


@contextmanager
def structure_only():
    """Build networks without values, which takes most of the time and memory."""
    with mock.patch.object(gluon.Parameter, 'initialize', lambda *args, **kwargs: None), \
            mock.patch.object(gluon.Parameter, 'reset_ctx', lambda *args, **kwargs: None):
        yield


def structure_of(name, **options):
    """The network of that name, without values."""
    with structure_only():
        return get_model(name, **options)
