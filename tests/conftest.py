"""Fixtures that several files share: small real data sets, made once a session."""
import ctypes
import gc
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import drawing
import initial_values
import pytest

# Before MXNet takes a thread a core: there are as many processes as cores, and what is compared to the last bit is
# added up in one order, here and in the programs that tests start.
os.environ['OMP_NUM_THREADS'] = '1'

# isort: split
import gluon_action  # noqa: F401  (prepares MXNet before a test imports it)

# Python would look for reference cycles in all modules every few moments: a twelfth of the time of the tests. It looks
# when the tests begin, and when networks that nobody uses any more take up memory: they hold themselves.
gc.set_threshold(100_000, 50, 100)
GARBAGE = 1 << 29

# Nobody pulls the plug, so no test waits until a disk has what was written; `disk` sees what the program waits for.
os.fsync = os.fstat

# Memory that networks leave is used again, in pages of 2 MB, instead of given back and cleared anew page by page. The C
# library reads this when a process starts, so it is for those of pytest-xdist.
MEMORY = ('glibc.malloc.hugetlb=1:glibc.malloc.arena_max=1:glibc.malloc.mmap_threshold=33554432:'
          'glibc.malloc.trim_threshold=536870912')
if os.environ.get('GLIBC_TUNABLES') == MEMORY:
    del os.environ['GLIBC_TUNABLES']  # programs that tests start have what users have

# Programs that tests start find the support modules too; pytest's `pythonpath` tells this process only.
os.environ['PYTHONPATH'] = os.pathsep.join(
    [str(Path(__file__).parent / 'support'), *filter(None, [os.environ.get('PYTHONPATH')])])

# Weights have addresses all over the world; a test asks servers on this machine only, unless it installs something.
# Processes of pytest-xdist inherit what the first one has changed, so it tells them what it found.
AS_FOUND = json.loads(os.environ.setdefault('ENVIRONMENT_AS_FOUND', json.dumps(dict(os.environ))))
for name in ('http_proxy', 'https_proxy', 'HTTP_PROXY', 'HTTPS_PROXY'):
    os.environ[name] = 'http://127.0.0.1:9'
os.environ['no_proxy'] = os.environ['NO_PROXY'] = '127.0.0.1,localhost'
os.environ['HF_HUB_OFFLINE'] = '1'  # its library would try for minutes

# A shell starts background jobs with Ctrl-C ignored, and so would be the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes():
    """Let the processes that run tests keep memory."""
    os.environ.setdefault('GLIBC_TUNABLES', MEMORY)


def pytest_collection_finish(session):
    """Begin the tests with cheap initial values, once the modules of tests have loaded MXNet, and without garbage."""
    global _clean
    initial_values.install()
    collect_without_looking()
    gc.collect()
    gc.freeze()
    _clean = resident()


def collect_without_looking():
    """Leave out what Gluon does before it collects parameters: at each layer it goes through every list and dictionary.

    It would warn of a layer that nobody registered, which a test of the parameters' names notices too.
    """
    module = sys.modules.get('mxnet.gluon.block')
    if module is not None:
        module.Block._check_container_with_block = lambda block: None


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Free the memory of networks that hold themselves, before it is gigabytes, which each fork would go through."""
    global _clean
    if resident() > _clean + GARBAGE:
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what is free in the middle of the heap too
        _clean = resident()


def resident():
    """Bytes of memory that this process has."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[1]) * os.sysconf('SC_PAGE_SIZE')


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    """Draw for the tests that look at pictures, and before fixtures of a module are made."""
    drawing.draw(item.get_closest_marker('draws') is not None)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show bytes that are no UTF-8 as escapes: processes of pytest-xdist cannot send names that have them."""
    report = yield
    report.sections = [(title, _sendable(text)) for title, text in report.sections]
    if report.failed and _sendable(str(report.longrepr)) != str(report.longrepr):
        report.longrepr = _sendable(str(report.longrepr))
    return report


def _sendable(text):
    return text.encode('utf-8', 'backslashreplace').decode()


@pytest.fixture(scope='session', autouse=True)
def messages_name_flags():
    """As in a command, though functions are called from Python; `tests/test_errors.py` reads what Python says."""
    from gluon_action.errors import naming_flags
    with naming_flags():
        yield


@pytest.fixture
def as_found():
    """The environment with the machine's own way to other machines, for pip."""
    return dict(AS_FOUND)


@pytest.fixture(scope='session')
def demo_appearance(tmp_path_factory):
    """A small demo_appearance: what is in the picture decides."""
    from gluon_action.data.demo.make import make_demo
    return make_demo('demo_appearance', tmp_path_factory.mktemp('appearance'), train_per_class=3, val_per_class=2,
                     size=64, num_frames=12)


@pytest.fixture(scope='session')
def demo_motion(tmp_path_factory):
    """A small demo_motion: only the order of the frames decides."""
    from gluon_action.data.demo.make import make_demo
    return make_demo('demo_motion', tmp_path_factory.mktemp('motion'), train_per_class=3, val_per_class=2,
                     size=64, num_frames=12)


@pytest.fixture(scope='module')
def tiny_network():
    """`tiny.NAME` is in the zoo."""
    import tiny
    tiny.register_tiny()
    yield
    tiny.forget(tiny.NAME)


@pytest.fixture(scope='module')
def network_of_runs():
    """`tiny.OF_RUNS` is in the zoo."""
    import tiny
    tiny.register_of_runs()
    yield
    tiny.forget(tiny.OF_RUNS)


@pytest.fixture(scope='module')
def params8(tmp_path_factory, tiny_network):
    """Parameters of `tiny.NAME` for 8 classes."""
    import tiny
    return tiny.save_tiny(tmp_path_factory.mktemp('weights'), 8, 1)[0]


@pytest.fixture
def disk(monkeypatch):
    """What the program does for its files to survive a power cut, in order.

    ``('sync', path, bytes)`` of a file that was waited for, with its size at that moment (None of a folder), and
    ``('rename', path, new path)``.
    """
    events, fsync = [], os.fsync

    def synced(descriptor):
        path = os.readlink(f'/proc/self/fd/{descriptor}')
        fsync(descriptor)
        events.append(('sync', path, None if os.path.isdir(path) else os.path.getsize(path)))

    def watched(given):
        def moved(source, target, **kwargs):
            given(source, target, **kwargs)
            events.append(('rename', os.fspath(source), os.fspath(target)))
        return moved

    for name in ('rename', 'replace'):
        monkeypatch.setattr(os, name, watched(getattr(os, name)))
    monkeypatch.setattr(os, 'fsync', synced)
    return events


@pytest.fixture
def mount_disk(tmp_path):
    """Mounts a file system of a size, ``'1m'``, and returns its folder; the test is skipped where only root may."""
    place = tmp_path / 'disk'
    place.mkdir()
    mounted = []

    def mount(size):
        if os.geteuid() != 0 or subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}', 'tmpfs', str(place)],
                                               capture_output=True).returncode != 0:
            pytest.skip('mounting a small file system needs root')
        mounted.append(place)
        return place

    yield mount
    for folder in mounted:
        subprocess.run(['umount', str(folder)], check=True)
