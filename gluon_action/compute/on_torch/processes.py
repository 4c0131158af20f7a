"""Processes that train together, as torchrun starts them: each has one device and its part of every epoch."""
from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.distributed as together

from ...errors import TrainingError, UsageError

# The others wait while the first one validates. One that dies need not be waited for: torchrun ends the rest.
_PATIENCE = datetime.timedelta(days=7)


@dataclass(frozen=True)
class Processes:
    """The processes that this one trains with.

    Attributes
    ----------
    count, rank : int
        How many there are, and which of them this is, from 0.
    device : torch.device
        What this one computes on.
    """

    count: int
    rank: int
    device: torch.device

    def add_up(self, arrays: Sequence[torch.Tensor]) -> None:
        """Give arrays the sums of what they are in every process, in place."""
        flat = torch.cat([array.reshape(-1) for array in arrays])
        with _losing_none():
            together.all_reduce(flat)
        for array, total in zip(arrays, flat.split([array.numel() for array in arrays])):
            array.copy_(total.view_as(array))

    def total(self, number: int) -> int:
        """Return the sum of a number of every process. Waits for them, and not for the devices."""
        given = torch.tensor(number, dtype=torch.int64)
        with _losing_none():
            together.all_reduce(given)
        return int(given)

    @torch.no_grad()
    def take_over(self, arrays: Sequence[torch.Tensor]) -> None:
        """Give arrays the values that they have in the first process, in place."""
        if self.device.type == 'cuda':
            torch.cuda.set_device(self.device)  # what NCCL starts on; not sooner, see `join`
        with _losing_none():
            for array in arrays:
                together.broadcast(array.detach(), 0)

    def check_same(self, about: Mapping[str, str]) -> None:
        """Refuse to continue where processes were started differently.

        Parameters
        ----------
        about : mapping
            What is compared -> its content.

        Raises
        ------
        UsageError
            In every process, with what differs and where.
        """
        own = torch.tensor([list(hashlib.sha256(text.encode()).digest()) for text in about.values()],
                           dtype=torch.uint8)
        every = [torch.empty_like(own) for _ in range(self.count)]
        with _losing_none():
            together.all_gather(every, own)
        for rank, other in enumerate(every):
            differing = [what for what, same in zip(about, (other == every[0]).all(dim=1).tolist()) if not same]
            if differing:
                raise UsageError(f'torchrun: process {rank} has other {" and ".join(differing)} than process 0; give '
                                 'all the same command and the same files')


def join(device: torch.device, cleanup: contextlib.ExitStack) -> Processes:
    """Meet the processes that torchrun has started beside this one; `cleanup` parts from them.

    Nothing is computed on a GPU, nor memory taken there: workers that read videos may still be forked afterwards. What
    is no tensor of a GPU, counts and texts, always goes over gloo, so that it waits for no GPU.

    Raises
    ------
    TrainingError
        When they do not meet.
    """
    try:
        together.init_process_group('cpu:gloo,cuda:nccl' if device.type == 'cuda' else 'gloo', timeout=_PATIENCE)
    except (ValueError, RuntimeError) as error:
        raise TrainingError(f'torchrun: the processes do not meet: {first_line(error)}') from error
    cleanup.callback(together.destroy_process_group)
    return Processes(int(os.environ['WORLD_SIZE']), int(os.environ['RANK']), device)


@contextlib.contextmanager
def _losing_none() -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise TrainingError(f'torchrun: what the processes exchange did not arrive ({first_line(error)}): one of them '
                            'is gone, and its own last lines say why, or they cannot reach each other. Start all '
                            'again with --resume') from error


def first_line(error: Exception) -> str:
    """Return what PyTorch says of an error, without the lines on where in its code."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
