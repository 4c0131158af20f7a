"""Seconds of jobs in processes of their own that take turns, and the table of their ratios.

Each framework has a process, as their threads would wait for each other in one. A script that measures starts itself
again with ``--serve`` for each of them.
"""
from __future__ import annotations

import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


class Server:
    """A process that reports the seconds of the jobs it is asked for.

    Parameters
    ----------
    python : str
        Interpreter.
    script : str
        The script, which calls `serve` when its arguments are ``--serve`` and `arguments`.
    *arguments : str
    """

    def __init__(self, python: str, script: str, *arguments: str):
        self.process = subprocess.Popen([python, script, '--serve', *arguments], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self._answer()  # ready: warmed up

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.stdin.close()
        self.process.wait()

    def seconds(self, name: str, steps: int) -> float:
        """Seconds a step, over `steps` of them."""
        self.process.stdin.write(f'{steps} {name}\n')
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> float:
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f'{" ".join(self.process.args)} ended with {self.process.wait()}')
        return float(line)


def serve(jobs: dict[str, Callable[[int], None]]) -> None:
    """Run the jobs that standard input asks for, and print the seconds a step; each job takes the number of steps."""
    for job in jobs.values():
        job(2)  # the first steps make primitives and allocate
    print(0.0, flush=True)
    for line in sys.stdin:
        steps, _, name = line.strip().partition(' ')
        started = time.perf_counter()
        jobs[name](int(steps))
        print((time.perf_counter() - started) / int(steps), flush=True)


def repeated(job: Callable[[], None]) -> Callable[[int], None]:
    """Return a job for `serve` that does one step after the other."""
    def steps(count: int) -> None:
        for _ in range(count):
            job()
    return steps


def take_turns(jobs: Sequence[tuple[Server, str]], rounds: int, steps: int) -> dict[str, list[float]]:
    """Return the seconds a step of each job, turn by turn."""
    turns = {name: [] for _, name in jobs}
    for number in range(rounds):
        # The order changes, so that a machine that slows down while it warms up wrongs nobody.
        for server, name in jobs if number % 2 else jobs[::-1]:
            turns[name].append(server.seconds(name, steps))
    return turns


def ratio_row(label: str, turns: dict[str, list[float]], ours: str, peer: str, target: float | None) -> dict:
    """Return a row of the table: medians, and the median ratio of neighbours."""
    return {'name': label, 'ours': statistics.median(turns[ours]), 'peer': statistics.median(turns[peer]),
            'ratio': statistics.median(x / y for x, y in zip(turns[ours], turns[peer])), 'target': target}


def print_rows(rows: Iterable[dict]) -> None:
    """Print the machine and a table line by line, as its rows come, then one JSON object a row, with the machine."""
    here = machine()
    print(f'{here["cpu"]}; OpenBLAS of MXNet: {here["blas"]}; {here["threads"]} threads')
    print(f'{"row":<48} {"ours":>8} {"peer":>8} {"ratio":>7} {"target":>7}')
    done = []
    for row in rows:
        target = '' if row['target'] is None else f'{row["target"]:.2f}'
        print(f'{row["name"]:<48} {row["ours"]:>8.3f} {row["peer"]:>8.3f} {row["ratio"]:>7.3f} {target:>7}', flush=True)
        done.append(row)
    for row in done:
        print(json.dumps({**row, **here}))


def machine() -> dict[str, str | int]:
    """What ratios depend on: the CPU, the kernels that MXNet's OpenBLAS takes on it, and the threads."""
    from gluon_action import engine, mxnet_import  # not at the top: PyTorch's interpreter may not have it
    threads = int(os.environ.get('OMP_NUM_THREADS') or engine.usable_cores())
    cpu = mxnet_import.cpu_facts().get('model name', platform.machine())
    return {'cpu': cpu, 'blas': _blas(mxnet_import.openblas_core()), 'threads': threads}


def _blas(core: str | None) -> str:
    spec = importlib.util.find_spec('mxnet')
    library = Path(spec.submodule_search_locations[0], 'libopenblas.so.0') if spec else None
    if library is None or not library.exists():
        return 'unknown'
    asked = ('import ctypes, sys; name = ctypes.CDLL(sys.argv[1]).openblas_get_corename; '
             'name.restype = ctypes.c_char_p; print(name().decode())')
    done = subprocess.run([sys.executable, '-c', asked, str(library)], capture_output=True, text=True, check=True,
                          env={**os.environ, **({'OPENBLAS_CORETYPE': core} if core else {})})
    return done.stdout.strip()
