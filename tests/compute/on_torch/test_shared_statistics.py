"""Batch normalisation over several processes is that of one process with all of their rows."""
import multiprocessing

import pytest

torch = pytest.importorskip('torch', reason='needs PyTorch: make test-torch')

from gluon_action.compute.on_torch.functions.normalisation import batch_norm  # noqa: E402
from gluon_action.compute.on_torch.network import TorchNetwork  # noqa: E402

SHAPE, CHANNELS = (7, 3, 2, 4, 4), 3
#: Rows of each process: not the same number.
PARTS = [slice(0, 2), slice(2, 7)]
OPTIONS = {'eps': 1e-3, 'momentum': 0.9, 'fix_gamma': False, 'training': True}


def values(dtype=torch.float64):
    torch.manual_seed(3)
    x = (torch.randn(SHAPE, dtype=torch.float64) * 3 + 50).to(dtype)
    weights = torch.randn(SHAPE, dtype=torch.float64)
    tensors = [torch.rand(CHANNELS, dtype=torch.float64).to(dtype) for _ in range(4)]
    return x, weights.to(dtype), tensors


def normalised(rows, dtype=torch.float64, **more):
    """Everything that comes of a layer, for some of the rows."""
    x, weights, (gamma, beta, mean, variance) = values(dtype)
    x = x[rows].clone().requires_grad_()
    gamma.requires_grad_(), beta.requires_grad_()
    out = batch_norm(x, gamma, beta, mean, variance, **OPTIONS, **more)
    (out.pow(3) * weights[rows]).sum().backward()
    return [part.detach() for part in (out, x.grad, gamma.grad, beta.grad, mean, variance)]


def one_of_two(rank, place, answers, dtype):
    torch.distributed.init_process_group('gloo', init_method=f'file://{place}', world_size=2, rank=rank)
    answers.put((rank, [part.numpy() for part in normalised(PARTS[rank], dtype, shared=True)]))
    torch.distributed.barrier()


@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-9), (torch.float32, 1e-4)])
def test_two_processes_normalise_as_one_does(dtype, tolerance, tmp_path):
    """In float32 too, where numbers are far from 0 and squares that are added up would lose their variance."""
    context = multiprocessing.get_context('spawn')
    answers = context.SimpleQueue()
    started = [context.Process(target=one_of_two, args=(rank, tmp_path / 'meeting', answers, dtype))
               for rank in range(2)]
    for process in started:
        process.start()
    found = dict(answers.get() for _ in started)
    for process in started:
        process.join()
    parts = [[torch.from_numpy(part) for part in found[rank]] for rank in range(2)]
    out, of_x, of_gamma, of_beta, mean, variance = normalised(slice(None))
    ours = (torch.cat([parts[0][0], parts[1][0]]), torch.cat([parts[0][1], parts[1][1]]), parts[0][2] + parts[1][2],
            parts[0][3] + parts[1][3])
    for got, expected in zip(ours, (out, of_x, of_gamma, of_beta)):
        assert got.dtype == dtype
        torch.testing.assert_close(got.double(), expected, rtol=tolerance, atol=tolerance * expected.abs().max())
    for rank in range(2):
        for got, expected in zip(parts[rank][4:], (mean, variance)):
            torch.testing.assert_close(got.double(), expected, rtol=tolerance / 10, atol=0)


def test_only_training_shares_statistics():
    """Scoring is the first process's alone: it would wait for ever."""
    from loops import make_net
    network = TorchNetwork(make_net(), shared=True)
    shared = [[node.kwargs.get('shared', False) for node in network.graph((4, 3, 6, 6), training).graph.nodes
               if node.op == 'call_function' and node.target is batch_norm] for training in (False, True)]
    assert set(shared[0]) == {False} and set(shared[1]) == {True}
