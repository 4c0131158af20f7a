from types import SimpleNamespace

import pytest

from gluon_action.compute import waits


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=0.)
    monkeypatch.setattr(waits, 'time', SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def test_what_is_waited_for_is_counted_apart_from_what_is_done(clock):
    def slow():
        for number in range(3):
            clock.now += 2
            yield number
        clock.now += 1  # to find out that there is no more takes time as well

    found = waits.Waits()
    for _ in found.for_data(slow()):
        clock.now += 10
        with found.for_devices():
            clock.now += 0.5
    assert (found.data, found.devices) == (7, 1.5) and clock.now == 38.5


def test_a_failure_is_counted_and_passed_on(clock):
    def failing():
        clock.now += 3
        raise ValueError('x')
        yield

    found = waits.Waits()
    with pytest.raises(ValueError):
        list(found.for_data(failing()))
    with pytest.raises(ValueError), found.for_devices():
        clock.now += 4
        raise ValueError('y')
    assert (found.data, found.devices) == (3, 4)
