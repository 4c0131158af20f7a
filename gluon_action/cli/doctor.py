"""``gluon-action doctor``: what is installed and works, what is missing, and the command that mends it."""
from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import engine
from ..compute.engines import ENGINES
from ..errors import DeviceError, GluonActionError
from .command import make_parser


@dataclass(frozen=True)
class Finding:
    """What one check found: `mend` is the command that helps where `state` is not ``'ok'``."""

    name: str
    state: str  # 'ok', 'missing' (something will not work) or 'note' (something optional is absent)
    detail: str
    mend: str = ''


def build_parser() -> argparse.ArgumentParser:
    """Return the parser."""
    return make_parser('Check this installation: versions, decoders, devices. Exits 1 if something needs mending.',
                       prog='gluon-action doctor')


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    return build_parser().parse_args(argv)


def main(args: argparse.Namespace) -> int:
    """Print every finding; 1 if something needs mending."""
    findings = examine()
    for finding in findings:
        print(f'{finding.state:<8} {finding.name:<14} {finding.detail}')
        if finding.mend:
            print(f'{"":<23} -> {finding.mend}')
    broken = [finding.name for finding in findings if finding.state == 'missing']
    print(f'\n{len(broken)} to mend: {", ".join(broken)}' if broken else '\nAll well.')
    return 1 if broken else 0


def examine() -> list[Finding]:
    """Run every check; none raises."""
    if _only_runs_bundles():
        checks: list[Callable[[], Finding]] = [
            _python, _runtime, lambda: _decoder('pyav'), lambda: _optional('pillow', 'overlay videos', 'PIL'),
            lambda: _optional('matplotlib', 'timelines')]
    else:
        checks = [
            _python, _numpy, _mxnet, _gluoncv, _opencv, lambda: _decoder('decord'), lambda: _decoder('pyav'),
            lambda: _package('matplotlib', 'plots'), lambda: _package('tensorboardX', 'TensorBoard events'),
            lambda: _optional('torch', '--engine torch, for GPUs that MXNet has no code for', extra='torch'),
            lambda: _optional('onnx', 'exporting', extra='onnx'),
            lambda: _optional('onnxruntime', 'running what was exported', extra='onnx'), _threads, _gpus, _cache]
    return [check() for check in checks]


def _only_runs_bundles() -> bool:
    """Whether this is an installation of the extra ``runtime``, which is whole without MXNet."""
    return engine.mxnet_distribution() is None and not _version('gluoncv') and bool(_version('onnxruntime'))


def _runtime() -> Finding:
    return _package('onnxruntime', 'runs bundles; to train as well: ' + engine.install_command())


def _optional(distribution: str, purpose: str, module: str | None = None, extra: str = 'pictures') -> Finding:
    if _version(distribution):
        return _package(distribution, purpose, module)
    return Finding(distribution, 'note', f'absent ({purpose})', f'pip install "gluon_action[{extra}]"')


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ''


def _python() -> Finding:
    version = platform.python_version()
    if (3, 11) <= sys.version_info[:2] <= (3, 13):
        return Finding('python', 'ok', f'{version} on {platform.platform()}')
    return Finding('python', 'note', f'{version}; 3.11, 3.12 and 3.13 are what was tried')


def _numpy() -> Finding:
    version = _version('numpy')
    if version.startswith(('1.26.', '2.')):
        return Finding('numpy', 'ok', version)
    return Finding('numpy', 'missing', f'{version or "absent"}; 1.26 and 2.x are what MXNet 1.9.1 was tried with',
                   'pip install "numpy>=1.26,<3"')


def _mxnet() -> Finding:
    wheels = [name for name in ('mxnet', 'mxnet-cu112', 'mxnet-cu117') if _version(name)]
    if not wheels:
        return Finding('mxnet', 'missing', 'absent', f'{engine.install_command()}  (or [cu112] for NVIDIA GPUs)')
    if len(wheels) > 1:
        return Finding('mxnet', 'missing', f'{" and ".join(wheels)} overwrite each other',
                       f'pip uninstall -y {" ".join(wheels)} && {engine.install_command()}')
    try:
        import mxnet as mx
        assert float(mx.nd.ones((2, 3)).sum().asscalar()) == 6
    except OSError as error:
        lacking = engine.preload_cuda_libraries() if wheels[0] != 'mxnet' else []
        mend = ('install the NVIDIA driver' if 'libcuda.so' in str(error) else
                f'{engine.install_command("mxnet-cu112")}  (lacking: {", ".join(lacking) or error})')
        return Finding('mxnet', 'missing', f'{wheels[0]} does not load: {error}', mend)
    except Exception as error:
        return Finding('mxnet', 'missing', f'{wheels[0]} does not run: {type(error).__name__}: {error}',
                       f'pip uninstall -y {wheels[0]} && {engine.install_command(wheels[0])}')
    return Finding('mxnet', 'ok', f'{wheels[0]} {mx.__version__}')


def _gluoncv() -> Finding:
    return _package('gluoncv', '2-D networks', module='gluoncv.model_zoo')


def _package(distribution: str, purpose: str, module: str | None = None) -> Finding:
    version = _version(distribution)
    try:
        importlib.import_module(module or distribution)
    except Exception as error:
        detail = f'{version or "absent"} ({purpose}): {type(error).__name__}: {error}'
        return Finding(distribution, 'missing', detail, f'pip install --force-reinstall "{distribution}"')
    return Finding(distribution, 'ok', f'{version} ({purpose})')


def _opencv() -> Finding:
    mend = ('pip uninstall -y opencv-python opencv-python-headless && '
            'pip install "opencv-python-headless>=4.10,<4.12"')
    try:
        import cv2
    except ImportError as error:
        return Finding('opencv', 'missing', f'cannot be loaded: {error}', mend)
    kind = 'headless' if getattr(cv2.version, 'headless', False) else 'with windows: works only where libGL is'
    return Finding('opencv', 'ok', f'{cv2.__version__} ({kind})')


def _decoder(name: str) -> Finding:
    """Encode eight frames and read one back, rather than trust an import."""
    package = {'decord': 'decord', 'pyav': 'av'}[name]
    mend = f'pip install --force-reinstall "{package}"'
    try:
        import av
        import numpy as np

        from ..data.reading.video_reader import VideoReader
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, 'probe.mp4'))
            with av.open(path, 'w') as container:
                stream = container.add_stream('libx264', rate=25)
                stream.width, stream.height, stream.pix_fmt = 64, 48, 'yuv420p'
                for i in range(8):
                    frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 20 * i, np.uint8), format='rgb24')
                    container.mux(stream.encode(frame))
                container.mux(stream.encode())
            with VideoReader(path, decoder=name) as video:
                level = int(video.read([5])[0].mean())
                if video.decoder != name:
                    return Finding(name, 'missing', video.fallback_cause, mend)
        if abs(level - 100) > 8:
            return Finding(name, 'missing', f'reads the wrong frame (level {level}, expected 100)', mend)
    except (ImportError, OSError, GluonActionError) as error:
        return Finding(name, 'missing', f'{type(error).__name__}: {error}', mend)
    return Finding(name, 'ok', f'{_version(package)} (wrote and read a video)')


def _threads() -> Finding:
    return Finding('threads', 'ok', f'{os.environ["OMP_NUM_THREADS"]} for MXNet, {engine.usable_cores()} usable cores')


def _gpus() -> Finding:
    try:
        capabilities = engine.gpu_capabilities()
    except DeviceError as error:
        return Finding('gpus', 'note', f'none: {error}')
    if not capabilities:
        return Finding('gpus', 'note', 'the driver is there, but no GPU is visible')
    names = ', '.join(f'compute capability {major}.{minor}' for major, minor in capabilities)
    usable, refused = [], []
    for name, kind in ENGINES.items():
        try:
            kind(num_gpus=len(capabilities)).contexts()
            usable.append(f'--engine {name}')
        except GluonActionError as error:
            refused.append(f'not by --engine {name}: {error}')
    by = f'used by {" and ".join(usable)}' if usable else 'used by no engine'
    return Finding('gpus', 'ok' if usable else 'note', '; '.join([f'{len(capabilities)}: {names}; {by}', *refused]))


def _cache() -> Finding:
    home = Path(os.environ.get('MXNET_HOME') or Path.home() / '.mxnet')
    place = next(folder for folder in (home, *home.parents) if folder.exists())
    if os.access(place, os.W_OK):
        return Finding('cache', 'ok', f'{home} (weights and data sets; MXNET_HOME moves it)')
    return Finding('cache', 'missing', f'{place} is not writable', 'export MXNET_HOME=/a/folder/you/may/write')
