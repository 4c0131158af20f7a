"""Runs a reader over many damaged files, in a child process and under limits of time and memory a case."""
import faulthandler
import logging
import os
import resource
import select
import signal
import time
import traceback
import warnings

import pytest

from gluon_action.errors import GluonActionError

SECONDS, MEMORY = 30, 1 << 30


def amounts(some=1000):
    """Parametrizes `cases`: some of them in every run, and many in that of the slow tests."""
    many = pytest.param(20_000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])
    return pytest.mark.parametrize('cases', [some, many])


def check(read, cases):
    """Call ``read(number)`` for so many numbers and fail for whatever it does but return or raise our exceptions.

    The reader is what this process has imported: the child is a copy of it. One that dies or takes too long is followed
    by another one, which begins with the next case.
    """
    found, first = [], 0
    while first < cases and len(found) < 5:
        first, told = _run(read, first, cases)
        found += told
    assert not found, '\n'.join(found)


def _run(read, first, cases):
    """Return where to go on, and what was found on the way."""
    receiver, sender = os.pipe()
    child = os.fork()
    if not child:
        os.close(receiver)
        _child(read, first, cases, sender)
    os.close(sender)
    found, rest, number, ended = [], b'', first - 1, False
    try:
        while True:
            if not select.select([receiver], [], [], SECONDS)[0]:
                os.kill(child, signal.SIGKILL)
                found.append(f'case {number}: takes more than {SECONDS} s')
                break
            block = os.read(receiver, 1 << 16)
            if not block:
                break
            *lines, rest = (rest + block).split(b'\n')
            for line in lines:
                word, _, about = line.decode('utf-8', 'replace').partition(' ')
                if word == 'begin':
                    number = int(about)
                elif word == 'end':
                    ended = True
                else:
                    found.append(f'case {number}: {about}')
    finally:
        os.close(receiver)
        _, status = os.waitpid(child, 0)
    if not ended and not found:
        found.append(f'case {number}: ended by {signal.Signals(status & 127).name if status & 127 else "itself"}')
    return cases if ended else number + 1, found


def _child(read, first, cases, sender):
    try:
        faulthandler.disable()
        logging.disable(logging.CRITICAL)
        warnings.simplefilter('ignore')
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _, most = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY, most))
        found = 0
        for number in range(first, cases):
            os.write(sender, b'begin %d\n' % number)
            fault = _fault_of(read, number)
            if fault:
                found += 1
                os.write(sender, b'fault ' + fault.encode('utf-8', 'replace')[:2000].replace(b'\n', b' ') + b'\n')
                if found == 5:
                    break
        os.write(sender, b'end\n')
    finally:
        os._exit(0)


def _fault_of(read, number):
    started = time.process_time()
    try:
        read(number)
    except GluonActionError:
        pass
    except BaseException as error:
        frames = traceback.extract_tb(error.__traceback__)
        places = ' < '.join(f'{os.path.basename(frame.filename)}:{frame.lineno}' for frame in frames[:-6:-1])
        return f'{type(error).__name__}: {str(error)[:300]} at {places}'
    taken = time.process_time() - started
    return f'took {taken:.0f} s' if taken > SECONDS / 3 else ''


def _address_space():
    """Bytes of addresses that this process has."""
    with open('/proc/self/statm') as file:
        return int(file.read().split()[0]) * resource.getpagesize()
