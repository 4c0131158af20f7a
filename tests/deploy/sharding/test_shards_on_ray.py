"""The same work by Ray: its workers may die, and the result is that of one process."""
import os
from pathlib import Path

import pytest
from sharded_job import WordsConfig, open_words, write_words

from gluon_action.deploy.sharding.shards import run_job
from gluon_action.errors import PartsError, UsageError

pytest.importorskip('ray')
pytestmark = pytest.mark.slow
SUPPORT = Path(__file__).parents[2] / 'support'


@pytest.fixture
def two_workers(monkeypatch, tmp_path):
    """A Ray of two cores whose workers find what the tests find."""
    import ray
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(SUPPORT), str(SUPPORT.parents[1])]))
    start = ray.init
    monkeypatch.setattr(ray, 'init', lambda **options: start(num_cpus=2, include_dashboard=False, **options))
    return write_words(tmp_path / 'in')


def test_two_workers_one_of_which_is_killed_give_what_one_process_gives(two_workers, tmp_path):
    one = WordsConfig(str(two_workers), str(tmp_path / 'one.csv'))
    alone = run_job(open_words, one).merged
    calls = two_workers / 'calls'
    calls.unlink()
    both = WordsConfig(str(two_workers), str(tmp_path / 'both.csv'), kill='4.txt', seconds=0.5)
    done = run_job(open_words, both, ray='local')
    lines = [line.split() for line in calls.read_text().splitlines()]
    assert (two_workers / 'killed').exists() and [name for name, _ in lines].count('4.txt') == 2
    assert len({process for _, process in lines}) >= 2 and str(os.getpid()) not in {process for _, process in lines}
    assert Path(both.output).read_bytes() == Path(one.output).read_bytes()
    assert done.merged['inputs'] == alone['inputs']


def test_an_error_in_a_worker_is_that_error_and_what_was_done_is_kept(two_workers, tmp_path):
    output = str(tmp_path / 'x')
    with pytest.raises(PartsError, match='^5.txt: here it ends$'):
        run_job(open_words, WordsConfig(str(two_workers), output, fail='5.txt'), ray='local')
    calls = two_workers / 'calls'
    before = len(calls.read_text().splitlines())
    run_job(open_words, WordsConfig(str(two_workers), output))
    again = [line.split()[0] for line in calls.read_text().splitlines()[before:]]
    assert '5.txt' in again and not {'0.txt', '1.txt', '2.txt'} & set(again)


def test_a_cluster_that_does_not_answer_is_named(two_workers, tmp_path):
    with pytest.raises(UsageError, match='--ray 127.0.0.1:1: no cluster answers'):
        run_job(open_words, WordsConfig(str(two_workers), str(tmp_path / 'x')), ray='127.0.0.1:1')
