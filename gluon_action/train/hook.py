"""What may happen beside training, and when."""
from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import Any

log = logging.getLogger(__name__)


class Hook:
    """Called by `Loop.fit`, in the order given, with the loop itself. One that saves the whole state comes last."""

    def on_start(self, loop, epochs: int, batches: int) -> None:
        """Before the first batch; `loop.progress` says whether a run is resumed."""

    def on_start_scored(self, loop, record: dict[str, Any]) -> None:
        """After a validation before the first epoch; `record` is also ``loop.progress.start``."""

    def on_batch(self, loop, batch: Any) -> None:
        """Before each batch is trained on; what it does must leave batch, network and random state as they are."""

    def on_step(self, loop, result: Any) -> None:
        """After each batch has been handed to the devices, with its `StepResult`."""

    def on_scored(self, loop, scores: Any, batch: Any) -> None:
        """After each batch of a validation, which is in the sums in `scores`."""

    def on_epoch(self, loop, record: dict[str, Any]) -> None:
        """After each epoch and its validation; `record` is also the last of ``loop.progress.history``."""

    def on_end(self, loop) -> None:
        """After the last epoch."""

    def close(self) -> None:
        """Always, also when training fails or is interrupted."""


@contextlib.contextmanager
def closing(hooks: Sequence[Hook]) -> Iterator[None]:
    """Close all hooks in the end, in their order, whatever one of them raises.

    The first error is the one that is raised: what comes of closing after a failure is only logged, since a full disk
    makes every hook fail.
    """
    with contextlib.ExitStack() as stack:
        for hook in reversed(hooks):
            stack.push(_closer(hook))
        yield


def _closer(hook: Hook):
    def close(kind, error, traceback) -> None:
        try:
            hook.close()
        except Exception as later:
            if error is None:
                raise
            log.warning('%s could not be closed either: %s', type(hook).__name__, later)
    return close
