"""What all tests of the zoo do."""
import pytest

from gluon_action import engine


@pytest.fixture(autouse=True)
def values_from_numpy():
    """GluonCV's networks, which ours are compared with, start in a third of the time too."""
    with engine.initial_values_from_numpy():
        yield
