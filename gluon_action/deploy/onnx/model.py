"""A network in an ONNX file, run by ONNX Runtime."""
from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from ... import engine
from ...errors import BundleError, UsageError
from .header import check_whole

#: Devices in order of preference, by the names that ONNX Runtime gives them.
PROVIDERS = ('CUDAExecutionProvider', 'CPUExecutionProvider')
#: Threads that anybody can want: starting some thousands of them takes minutes.
MOST_THREADS = 1024


class OnnxModel:
    """An ONNX file that takes one input and gives scores.

    Parameters
    ----------
    path : path
    threads : int, optional
        Threads that compute; by default all usable cores, or ``OMP_NUM_THREADS`` where it is set.
    providers : sequence of str, optional
        Execution providers of ONNX Runtime; by default those of `PROVIDERS` that are installed.
    output : str
        Name of the output to take.
    spinning : bool
        Let idle threads wait for work by spinning, which is faster by little and takes the cores from whoever decodes.

    Attributes
    ----------
    input_name : str
    input_shape : list of int, str or None
        Lengths of the axes; a name or None is a free length.
    num_classes : int or None
        Scores a row, where the file says so.
    outputs : dict of str to list
        Everything that the model gives, and the lengths of its axes.
    providers : list of str
        In use.
    threads : int

    Raises
    ------
    UsageError
        When ONNX Runtime is not installed, or an argument is invalid.
    BundleError
        When the file cannot be loaded or has other inputs or outputs.
    """

    def __init__(self, path: str | os.PathLike, *, threads: int | None = None,
                 providers: Sequence[str] | None = None, output: str = 'logits', spinning: bool = False):
        if threads is not None and not 1 <= threads <= MOST_THREADS:
            raise UsageError(f'threads must be 1 to {MOST_THREADS}, got {threads}')
        runtime = import_runtime()
        self.path, self.threads = os.fspath(path), threads or engine.set_threads()
        check_whole(self.path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 4  # errors come as exceptions, and are told once
        options.add_session_config_entry('session.intra_op.allow_spinning', str(int(spinning)))
        available = runtime.get_available_providers()
        chosen = list(providers or [name for name in PROVIDERS if name in available])
        if unknown := set(chosen) - set(available):
            raise UsageError(f'ONNX Runtime here has no {", ".join(sorted(unknown))}, only {", ".join(available)}')
        try:
            # Its fallback would print on standard output, and try the same file once more.
            self._session = runtime.InferenceSession(self.path, options, providers=chosen, enable_fallback=0)
        except runtime_errors() as error:
            raise BundleError(f'{self.path}: ONNX Runtime cannot load it: {_in_one_line(error)}') from error
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        names = [value.name for value in outputs]
        if len(inputs) != 1 or output not in names:
            raise BundleError(f"{self.path}: must have one input and an output '{output}', it has the inputs "
                              f'{", ".join(value.name for value in inputs)} and the outputs {", ".join(names)}')
        self.input_name, self.input_shape = inputs[0].name, inputs[0].shape
        self._output, self.outputs = output, {value.name: value.shape for value in outputs}
        scores = self.outputs[output]
        self.num_classes = scores[-1] if scores and isinstance(scores[-1], int) else None
        self.providers = self._session.get_providers()

    def run(self, input: np.ndarray, output: str | None = None) -> np.ndarray:
        """Compute scores float32 (videos, K) of an input float32, or another one of `outputs`."""
        try:
            return self._session.run([output or self._output], {self.input_name: input})[0]
        except runtime_errors() as error:
            raise BundleError(f'{self.path}: cannot compute an input of {" x ".join(map(str, input.shape))} '
                              f'{input.dtype}: {_in_one_line(error)}') from error


def import_runtime():
    """Return the module onnxruntime; `UsageError` with the cure where it is not installed."""
    try:
        import onnxruntime
    except ImportError as error:
        raise UsageError(f'running an exported model needs onnxruntime ({error}): '
                         "pip install 'gluon_action[runtime]'") from error
    return onnxruntime


def runtime_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions that ONNX Runtime raises; they have no base class of their own."""
    from onnxruntime.capi import onnxruntime_pybind11_state as runtime
    errors = [value for value in vars(runtime).values() if isinstance(value, type) and issubclass(value, Exception)]
    return (*errors, ValueError, RuntimeError)


def _in_one_line(error: Exception) -> str:
    return (' '.join(str(error).split()) or type(error).__name__)[:400]
