"""What runs by either engine: flags that choose it, for tests that are parametrised by them."""
import importlib.util

import pytest

#: The default engine, and PyTorch where it is installed.
BY_ENGINE = [pytest.param([], id='mxnet'), pytest.param(
    ['--engine', 'torch'], id='torch', marks=pytest.mark.skipif(
        importlib.util.find_spec('torch') is None, reason='needs PyTorch: make test-torch'))]
