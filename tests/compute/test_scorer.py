"""A scorer: batch after batch in the same memory, while processes are forked."""
import subprocess
import sys

import gluon_action  # noqa: F401  (before anything that imports MXNet)

# isort: split
import mxnet as mx
import numpy as np
import pytest

from gluon_action.compute.on_mxnet.scorer import GluonScorer

SCRIPT = """
import os
import gluon_action
import mxnet as mx
import numpy as np
from gluon_action.compute.on_mxnet.scorer import GluonScorer

scorer = GluonScorer(lambda x: (x * 2).sum(axis=1), [mx.cpu()])
for number in range(60):
    data = np.empty((64, 60, 400), np.float32) if number % 2 else scorer.memory((64, 60, 400))
    data[:] = 1
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


def test_what_is_written_into_lent_memory_is_scored_where_it_lies():
    rng, scored = np.random.default_rng(0), []
    scorer = GluonScorer(lambda x: mx.nd.exp(x).sum(axis=1), [mx.cpu()])
    addresses, expected = [], []
    for number, rows in enumerate((40, 40, 40, 7, 40, 12)):
        memory = scorer.memory((40, 500))
        addresses.append(memory.ctypes.data)
        memory[:rows] = rng.normal(size=(rows, 500))
        memory[rows:] = np.nan
        expected.append(np.exp(memory[:rows].astype(np.float64)).sum(axis=1))
        scored.append(scorer(memory[:rows]))
        if number:
            np.testing.assert_allclose(scored[-2](), expected[-2], rtol=1e-5)
    np.testing.assert_allclose(scored[-1](), expected[-1], rtol=1e-5)
    assert addresses == addresses[:2] * 3 and len(set(addresses)) == 2
    assert not scorer._inputs  # nothing was copied


def test_lent_memory_that_is_seen_in_another_shape_is_scored_in_that_shape():
    scorer = GluonScorer(lambda x: mx.nd.array([x.ndim]), [mx.cpu()])
    memory = scorer.memory((4, 6))
    assert scorer(memory)()[0] == 2 and scorer(memory.reshape(4, 2, 3))()[0] == 3


def test_lent_memory_waits_for_what_still_reads_it():
    scorer = GluonScorer(lambda x: mx.nd.dot(x, x).sum(axis=1), [mx.cpu()])
    shape = (1500, 1500)
    scorer.memory(shape)[:] = 1
    first = scorer.memory(shape)
    first[:] = 1
    scores = scorer(first)
    scorer.memory(shape)
    scorer.memory(shape)[:] = 0  # that of the first, whose scores nobody has asked for
    np.testing.assert_array_equal(scores(), np.full(1500, 1500. * 1500))


OUTLIVES = """
import gluon_action
import mxnet as mx
from gluon_action.compute.on_mxnet.scorer import GluonScorer

memory = GluonScorer(lambda x: x, [mx.cpu()]).memory((1000, 1000))
memory[:] = 1
mx.nd.waitall()  # until what nobody holds is gone
others = [mx.nd.zeros((1000, 1000)) for _ in range(4)]
mx.nd.waitall()
assert memory.min() == 1 and len(others) == 4
"""


def test_lent_memory_outlives_its_scorer():
    subprocess.run([sys.executable, '-c', OUTLIVES], check=True, timeout=120)


@pytest.mark.parametrize('options', [{'dtype': 'float16'}, {'contexts': [mx.cpu(0), mx.cpu(1)]}])
def test_only_one_cpu_that_computes_in_float32_lends_its_memory(options):
    scorer = GluonScorer(lambda x: x, **{'contexts': [mx.cpu()], **options})
    assert scorer.memory((4, 3)) is None
