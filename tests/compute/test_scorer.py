"""A scorer that works while processes are forked."""
import subprocess
import sys

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
