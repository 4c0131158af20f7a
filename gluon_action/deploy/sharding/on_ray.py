"""Parts made by the workers of a Ray cluster, which schedules, spreads and tries again."""
from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...errors import GluonActionError, PartsError, UsageError

#: How often Ray starts an input again whose worker or machine was lost.
RETRIES = 3


def on_ray(address: str, make_part: Callable, open_job: Callable, config: Any, indices: Sequence[int],
           plan_sha256: str, gpus: float = 0) -> Iterator[tuple[int, dict[str, Any]]]:
    """Call ``make_part(open_job(config), index, plan_sha256)`` for each index, in the workers of a Ray cluster.

    Parameters
    ----------
    address : str
        ``local`` for the cores of this machine; else that of a cluster, ``auto`` for the one that this machine is of.
    make_part, open_job : callable
        Functions at the top of a module that the workers can import.
    config
        Can be pickled and hashed; a worker calls `open_job` once.
    indices : sequence of int
    plan_sha256 : str
    gpus : float
        What each input is given of the devices; Ray hides the others from the worker.

    Yields
    ------
    index : int
        As they are done.
    note
        What `make_part` returned.

    Raises
    ------
    UsageError
        When Ray is not installed, or no cluster answers.
    PartsError
        When the workers of an input were lost `RETRIES` + 1 times.
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError(f"--ray {address}: Ray is not installed ({error}): pip install 'gluon_action[ray]'") from error
    try:
        ray.init(address=address, log_to_driver=False, logging_level='ERROR')
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UsageError(f'--ray {address}: no cluster answers ({error}); start one with ray start --head, or pass '
                         '--ray local') from error
    try:
        task = ray.remote(_part).options(num_gpus=gpus, max_retries=RETRIES, scheduling_strategy='SPREAD')
        waiting = {task.remote(make_part, open_job, config, index, plan_sha256): index for index in indices}
        while waiting:
            (done, *_), _ = ray.wait(list(waiting))
            index = waiting.pop(done)
            try:
                note = ray.get(done)
            except ray.exceptions.RayError as error:
                raise PartsError(f'input number {index + 1} was given up by Ray: {str(error).splitlines()[0]}; run the '
                                 'same command again, what is done is kept') from error
            if isinstance(note, Exception):
                raise note
            yield index, note
    finally:
        ray.shutdown()


def _part(make_part: Callable, open_job: Callable, config: Any, index: int, plan_sha256: str) -> Any:
    """Return the note of a part, or the error of this package that says why there is none."""
    try:
        return make_part(_opened(open_job, config), index, plan_sha256)
    except GluonActionError as error:
        return error


@functools.lru_cache(maxsize=1)
def _opened(open_job: Callable, config: Any):
    return open_job(config)
