"""A scorer: batch after batch in the same memory, while processes are forked."""
import subprocess
import sys

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np

from gluon_action.compute.on_mxnet.scorer import GluonScorer

SCRIPT = """
import os
import gluon_action
import mxnet as mx
import numpy as np
from gluon_action.compute.on_mxnet.scorer import GluonScorer

scorer = GluonScorer(lambda x: (x * 2).sum(axis=1), [mx.cpu()])
for _ in range(60):
    data = np.ones((64, 60, 400), np.float32)
    scores = scorer(data)
    del data
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    assert (scores() == 120).all()
os._exit(0)
"""


def test_processes_are_forked_while_a_batch_is_scored():
    """As a loader does whose worker died; memory that was lent to MXNet made both wait for ever."""
    subprocess.run([sys.executable, '-c', SCRIPT], check=True, timeout=120)


def test_batches_are_scored_while_others_follow():
    """They take turns in the same memory; sizes differ, and so may what comes after."""
    rng, scored = np.random.default_rng(0), []
    scorer = GluonScorer(lambda x: mx.nd.exp(x).sum(axis=1), [mx.cpu()])
    batches = [rng.normal(size=(rows, 500)).astype(np.float32) for rows in (40, 40, 7, 40, 64, 40, 64)]
    batches.append(rng.normal(size=(64, 30)).astype(np.float32))
    memory = []
    for batch in batches:
        given = batch.copy()
        scored.append(scorer(given))
        given[:] = np.nan  # the scorer has its own
        memory.append(scorer._inputs[mx.cpu()])
    for batch, scores in zip(batches, scored):
        np.testing.assert_allclose(scores(), np.exp(batch.astype(np.float64)).sum(axis=1), rtol=1e-5)
    assert len(set(map(id, memory))) == 3  # the first, a larger one, one of other rows
