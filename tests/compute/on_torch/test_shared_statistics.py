"""Batch normalisation over several processes is that of one process with all of their rows."""
import multiprocessing
import traceback
from dataclasses import dataclass

import pytest

torch = pytest.importorskip('torch', reason='needs PyTorch: make test-torch')

from gluon_action.compute.on_torch.functions.normalisation import batch_norm  # noqa: E402
from gluon_action.compute.on_torch.network import TorchNetwork  # noqa: E402

CLIPS, ROWS, CHANNELS = (7, 3, 2, 4, 4), (7, 3), 3


@dataclass(frozen=True)
class Case:
    """A layer, and what two processes have of a batch: not the same number of rows.

    Numbers are far from 0, where squares that are added up in float32 would lose their variance.
    """
    dtype: torch.dtype = torch.float64
    tolerance: float = 1e-9
    of_statistics: float = 1e-10
    shape: tuple[int, ...] = CLIPS
    first: int = 2
    fix_gamma: bool = False

    @property
    def parts(self):
        return slice(0, self.first), slice(self.first, 7)


CASES = {
    'float64': Case(), 'gamma fixed': Case(fix_gamma=True), 'float32': Case(torch.float32, 1e-4, 1e-5),
    # Half as many bits have 3 digits. Statistics are of the numbers as they are, in full.
    'bfloat16': Case(torch.bfloat16, 0.02, 1e-5),
    'bfloat16, gamma fixed': Case(torch.bfloat16, 0.02, 1e-5, fix_gamma=True),
    'rows of features': Case(shape=ROWS),
    # By itself it would have no variance: PyTorch refuses such a batch.
    'a batch of one row': Case(shape=ROWS, first=1), 'a batch of one row, gamma fixed': Case(
        shape=ROWS, first=1, fix_gamma=True), 'a batch of one row in bfloat16': Case(
            torch.bfloat16, 0.02, 1e-5, ROWS, first=1)}


def values(case):
    torch.manual_seed(3)
    x = (torch.randn(case.shape, dtype=torch.float64) * 3 + 50).to(case.dtype)
    weights = torch.randn(case.shape, dtype=torch.float64)
    # Parameters stay float32 where a network computes in bfloat16.
    tensors = [torch.rand(CHANNELS, dtype=torch.float64) for _ in range(4)]
    return x, weights, [tensor.to(torch.promote_types(case.dtype, torch.float32)) for tensor in tensors]


def normalised(case, rows, exactly=False, **more):
    """Everything that comes of a layer, for some of the rows; `exactly` in double precision, of the same numbers."""
    x, weights, tensors = values(case)
    if exactly:
        x, tensors = x.double(), [tensor.double() for tensor in tensors]
    gamma, beta, mean, variance = tensors
    x = x[rows].clone().requires_grad_()
    gamma.requires_grad_(), beta.requires_grad_()
    out = batch_norm(x, gamma, beta, mean, variance, eps=1e-3, momentum=0.9, fix_gamma=case.fix_gamma, training=True,
                     **more)
    (out.double().pow(3) * weights[rows]).sum().backward()
    assert (gamma.grad is None) == case.fix_gamma
    of_gamma = torch.zeros_like(gamma) if gamma.grad is None else gamma.grad
    return [part.detach() for part in (out, x.grad, of_gamma, beta.grad, mean, variance)]


def one_of_two(rank, place, answers):
    torch.distributed.init_process_group('gloo', init_method=f'file://{place}', world_size=2, rank=rank)
    try:
        found = {name: normalised(case, case.parts[rank], shared=True) for name, case in CASES.items()}
    except BaseException:
        answers.put((rank, traceback.format_exc()))
        raise
    # NumPy has no bfloat16.
    answers.put((rank, {name: [(str(part.dtype), part.double().numpy()) for part in parts]
                        for name, parts in found.items()}))
    torch.distributed.barrier()


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    """What comes of the layers in each of two processes."""
    context = multiprocessing.get_context('spawn')
    answers, place = context.SimpleQueue(), tmp_path_factory.mktemp('shared') / 'meeting'
    started = [context.Process(target=one_of_two, args=(rank, place, answers)) for rank in range(2)]
    for process in started:
        process.start()
    found = {}
    try:
        for _ in started:
            rank, answer = answers.get()
            assert not isinstance(answer, str), answer
            found[rank] = answer
    except BaseException:
        for process in started:
            process.terminate()
        raise
    finally:
        for process in started:
            process.join()
    return found


@pytest.mark.parametrize('name', CASES)
def test_two_processes_normalise_as_one_does(name, shared):
    case = CASES[name]
    parts = [[torch.from_numpy(part) for _, part in shared[rank][name]] for rank in range(2)]
    wide = str(torch.promote_types(case.dtype, torch.float32))
    assert [dtype for dtype, _ in shared[0][name]] == [str(case.dtype)] * 2 + [wide] * 4
    out, of_x, of_gamma, of_beta, mean, variance = normalised(case, slice(None), exactly=True)
    ours = (torch.cat([parts[0][0], parts[1][0]]), torch.cat([parts[0][1], parts[1][1]]), parts[0][2] + parts[1][2],
            parts[0][3] + parts[1][3])
    for got, expected in zip(ours, (out, of_x, of_gamma, of_beta)):
        largest = expected.abs().max().item()
        torch.testing.assert_close(got, expected, rtol=case.tolerance, atol=case.tolerance * largest)
    for rank in range(2):
        for got, expected in zip(parts[rank][4:], (mean, variance)):
            torch.testing.assert_close(got, expected, rtol=case.of_statistics, atol=0)


def test_only_training_shares_statistics():
    """Scoring is the first process's alone: it would wait for ever."""
    from loops import make_net
    network = TorchNetwork(make_net(), shared=True)
    shared = [[node.kwargs.get('shared', False) for node in network.graph((4, 3, 6, 6), training).graph.nodes
               if node.op == 'call_function' and node.target is batch_norm] for training in (False, True)]
    assert set(shared[0]) == {False} and set(shared[1]) == {True}
