"""Work that several processes share: nobody's input is left out or done twice, and the result is that of one."""
import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from sharded_job import WordsConfig, open_words, write_words

from gluon_action.deploy.sharding.parts import glance, is_noted, read_plan, seal, sha256_of
from gluon_action.deploy.sharding.shards import Job, make_part, merge, parts_of, run_job
from gluon_action.errors import OutputError, PartsError, UsageError
from gluon_action.files import file_sha256
from gluon_action.unfinished import Shard


@pytest.fixture
def words(tmp_path):
    """What a job is configured with, by its differences from the usual."""
    folder = write_words(tmp_path / 'in')
    return lambda output='out.csv', **changes: WordsConfig(str(folder), str(tmp_path / output), **changes)


def contents(path: Path) -> dict[str, bytes] | bytes:
    return path.read_bytes() if path.is_file() else {
        str(file.relative_to(path)): file.read_bytes() for file in path.rglob('*') if file.is_file()}


def calls(config) -> list[str]:
    path = Path(config.folder) / 'calls'
    return [line.split()[0] for line in path.read_text().splitlines()] if path.exists() else []


LINES = 'Word\n' + ''.join(f'w{number}{place}\n' for number in range(7) for place in range(number))


@pytest.mark.parametrize('count', [1, 2, 3, 7, 9])
def test_shards_of_any_number_give_what_one_process_gives(words, count, tmp_path):
    for numbered in (False, True):
        one, several = (words(name, numbered=numbered) for name in (f'one{numbered}', f'several{numbered}'))
        alone = run_job(open_words, one)
        for index in reversed(range(1, count + 1)):
            done = run_job(open_words, several, shard=Shard(index, count))
            assert done.merged is None and not Path(several.output).exists()
        manifest = merge(several.output)
        assert contents(Path(one.output)) == contents(Path(several.output))
        assert manifest['inputs'] == alone.merged['inputs'] and not parts_of(Path(several.output)).exists()
    assert Path(words('oneFalse').output).read_text() == LINES
    assert sorted(os.listdir(tmp_path / 'oneTrue')) == [f'words-{number:03d}.txt' for number in range(21)]


def test_each_input_belongs_to_one_shard():
    for count in (1, 2, 5, 9):
        shared = [Shard(index + 1, count).of(7) for index in range(count)]
        assert sorted(index for part in shared for index in part) == list(range(7))
        assert max(map(len, shared)) - min(map(len, shared)) <= 1


@pytest.mark.parametrize('text', ['0/2', '3/2', '1', '1/0', '-1/2', '1/2/3', 'a/b', ''])
def test_a_shard_that_cannot_be_is_refused(text):
    with pytest.raises(UsageError, match='--shard.*I from 1 to N.*SLURM_ARRAY_TASK_ID'):
        Shard.parse(text)


def test_the_manifest_says_what_the_result_was_made_of(words):
    config = words()
    merged = run_job(open_words, config).merged
    output = Path(config.output)
    assert json.loads(output.with_name('out.csv.manifest.json').read_text()) == merged
    assert merged['settings'] == {'suffix': ''}
    assert merged['files'] == {'out.csv': {'bytes': len(LINES), 'sha256': file_sha256(output)}}
    assert [(Path(entry['input']).name, entry['about']['words']) for entry in merged['inputs']] == [
        (f'{number}.txt', number) for number in range(7)]
    assert all(entry['sha256'] == file_sha256(entry['input']) for entry in merged['inputs'])


def test_what_is_done_is_not_done_again(words):
    config = words()
    run_job(open_words, config, shard=Shard(1, 3))
    run_job(open_words, config, shard=Shard(2, 3))
    assert calls(config) == [f'{number}.txt' for number in (0, 3, 6, 1, 4)]
    done = run_job(open_words, config)
    assert (done.mine, done.found) == (7, 5) and calls(config)[5:] == ['2.txt', '5.txt']
    assert [note['about']['words'] for note in done.notes] == list(range(7))
    assert Path(config.output).read_text() == LINES


def test_a_part_that_was_damaged_or_whose_input_changed_is_made_again(words):
    config = words()
    run_job(open_words, config, shard=Shard(1, 1))
    parts = parts_of(Path(config.output))
    (parts / '00000/003/001').write_text('longer than it was\n')
    (parts / '00000/004/part.json').write_text('{')
    (Path(config.folder) / '5.txt').write_text('only these words')
    note = json.loads((parts / '00000/006/part.json').read_text())
    (parts / '00000/006/part.json').write_text(json.dumps({**note, 'plan_sha256': 'of other settings'}))
    before = len(calls(config))
    run_job(open_words, config)
    assert calls(config)[before:] == ['3.txt', '4.txt', '5.txt', '6.txt']
    assert 'only\nthese\nwords\n' in Path(config.output).read_text()


def test_a_process_that_fails_leaves_what_was_done_and_no_half_part(words):
    config = words()
    with pytest.raises(PartsError, match='here it ends'):
        run_job(open_words, words(fail='3.txt'))
    parts = parts_of(Path(config.output))
    assert sorted(os.listdir(parts)) == ['00000', 'plan.json']
    assert sorted(os.listdir(parts / '00000')) == ['000', '001', '002']
    run_job(open_words, config)
    assert calls(config) == [f'{number}.txt' for number in (0, 1, 2, 3, 3, 4, 5, 6)]


def test_two_processes_that_work_on_one_input_at_a_time_leave_one_part(words):
    config = words()

    def open_overtaken(config):
        job = open_words(config)

        def make(index, folder):
            make_part(job, index, read_plan(job.parts)[1])  # another process is faster
            return job.make(index, folder)
        return Job(job.output, job.inputs, job.settings, job.join, make)

    run_job(open_overtaken, config)
    assert Path(config.output).read_text() == LINES and len(calls(config)) == 14


def spoil_nothing_started(parts):
    shutil.rmtree(parts)


def spoil_missing(parts):
    shutil.rmtree(parts / '00000/002')


def spoil_bytes(parts):
    (parts / '00000/002/001').write_text('wXX\n')


def spoil_file_gone(parts):
    (parts / '00000/002/001').unlink()


def spoil_swapped(parts):
    for old, new in (('002', 'x'), ('003', '002'), ('x', '003')):
        (parts / '00000' / old).rename(parts / '00000' / new)


def spoil_extra(parts):
    shutil.copytree(parts / '00000/002', parts / '00000/007')


def spoil_settings(parts):
    plan = json.loads((parts / 'plan.json').read_text())
    plan['settings']['suffix'] = '!'
    (parts / 'plan.json').write_text(json.dumps(plan))


def spoil_plan(parts):
    (parts / 'plan.json').write_text('{}')


def spoil_join(parts):
    plan = json.loads((parts / 'plan.json').read_text())
    plan['join'] = {'kind': 'zip'}
    (parts / 'plan.json').write_text(json.dumps(plan))
    for path in parts.glob('00000/*/part.json'):
        value = json.loads(path.read_text())
        value['plan_sha256'] = sha256_of(plan)
        path.write_text(json.dumps(value))


@pytest.mark.parametrize('spoil, told', [
    (spoil_nothing_started, 'holds no plan.json'), (spoil_missing, r'1 of 7 parts are missing, first that of .*/2.txt '
                                                    r'\(number 3\); run the shards again'),
    (spoil_bytes, '00000/002/001: is no longer what was written'), (spoil_file_gone, '00000/002/001: is no longer'),
    (spoil_swapped, 'is the part of .*3.txt.*2.txt belongs there'), (spoil_extra, '00000/007: is no part of this job'),
    (spoil_settings, 'under other settings'), (spoil_plan, "is no plan of 'gluon_action parts 1'"),
    (spoil_join, 'joined by .*zip.*does not know')])
def test_merge_joins_nothing_unless_every_input_is_there_once_and_unchanged(words, spoil, told):
    config = words()
    run_job(open_words, config, shard=Shard(1, 1))
    spoil(parts_of(Path(config.output)))
    with pytest.raises(PartsError, match=told):
        merge(config.output)
    assert not Path(config.output).exists() and not Path(f'{config.output}.manifest.json').exists()


def replace_input(path, text, later=0):
    """Write other text of the same size, and have it look as if written so many nanoseconds after the first."""
    written = path.stat().st_mtime_ns + later
    path.write_text(text)
    os.utime(path, ns=(written, written))


def test_an_input_that_was_replaced_by_one_of_its_size_is_worked_on_again(words):
    config = words()
    run_job(open_words, config, shard=Shard(1, 1))
    replace_input(Path(config.folder) / '2.txt', 'w2X w21', later=10**7)
    replace_input(Path(config.folder) / '3.txt', 'w30 w31 w32', later=10**7)  # a copy, the same
    with pytest.raises(PartsError, match='2.txt: is another file than the one that was worked on'):
        merge(config.output)
    before = len(calls(config))
    run_job(open_words, config)
    assert calls(config)[before:] == ['2.txt']
    assert Path(config.output).read_text() == LINES.replace('w20', 'w2X')


def test_a_folder_with_another_picture_of_the_same_size_is_another_input(tmp_path):
    (tmp_path / 'in' / 'more').mkdir(parents=True)
    picture = tmp_path / 'in' / 'more' / '1.jpg'
    picture.write_bytes(b'123')
    note = {**glance(str(tmp_path / 'in')), **seal(str(tmp_path / 'in'))}
    assert note['bytes'] == 3 and is_noted(str(tmp_path / 'in'), note)
    replace_input(picture, '123', later=10**10)
    assert is_noted(str(tmp_path / 'in'), note)
    replace_input(picture, '124', later=10**10)
    assert not is_noted(str(tmp_path / 'in'), note)


def test_an_input_that_changes_while_it_is_worked_on_is_not_joined(words):
    config = words()

    def open_written_to(config):
        job = open_words(config)

        def make(index, folder):
            made = job.make(index, folder)
            if job.inputs[index].endswith('/2.txt'):
                replace_input(Path(job.inputs[index]), 'w2X w21', later=10**7)
            return made
        return Job(job.output, job.inputs, job.settings, job.join, make)

    with pytest.raises(PartsError, match='2.txt: is another file than the one that was worked on'):
        run_job(open_written_to, config)


def test_merge_reads_the_inputs_again_when_asked(words):
    config = words()
    run_job(open_words, config, shard=Shard(1, 1))
    replace_input(Path(config.folder) / '2.txt', 'w2X w21')  # of the same size and time
    with pytest.raises(PartsError, match='2.txt: is another file than the one that was worked on'):
        merge(config.output, check_inputs=True)
    (Path(config.folder) / '4.txt').unlink()  # it is on another machine
    merge(config.output, keep_parts=True)
    assert Path(config.output).read_text() == LINES and parts_of(Path(config.output)).exists()
    with pytest.raises(PartsError, match='4.txt: is another file'):
        (Path(config.folder) / '2.txt').write_text('w20 w21')
        merge(config.output, check_inputs=True, overwrite=True)


def test_parts_of_other_settings_or_inputs_are_not_mixed(words):
    config = words()
    run_job(open_words, config, shard=Shard(1, 2))
    with pytest.raises(PartsError, match=r"parts of another job: settings suffix '' there, '!' now; choose another"):
        run_job(open_words, words(suffix='!'), shard=Shard(2, 2))
    with pytest.raises(PartsError, match="join kind 'concatenate' there, 'number' now"):
        run_job(open_words, words(numbered=True), shard=Shard(2, 2))
    (Path(config.folder) / '0a.txt').write_text('')
    with pytest.raises(PartsError, match='7 inputs there, 8 now'):
        run_job(open_words, config, shard=Shard(2, 2))
    (Path(config.folder) / '6.txt').unlink()
    with pytest.raises(PartsError, match="inputs number 2 is '.*/1.txt' there, '.*/0a.txt' now"):
        run_job(open_words, config, shard=Shard(2, 2))


@pytest.mark.parametrize('numbered', [False, True])
def test_a_result_that_exists_is_kept_unless_told(words, numbered):
    config, other = words(numbered=numbered), words(numbered=numbered, suffix='!')
    run_job(open_words, config)
    before = contents(Path(config.output))
    with pytest.raises(OutputError, match='out.csv: exists; choose another name'):
        run_job(open_words, other)
    assert contents(Path(config.output)) == before and not parts_of(Path(config.output)).exists()
    run_job(open_words, other, shard=Shard(1, 1), overwrite=True)
    with pytest.raises(OutputError, match='out.csv: exists; choose another name'):
        merge(config.output)
    assert contents(Path(config.output)) == before
    run_job(open_words, other, overwrite=True)
    after = contents(Path(config.output))
    assert (after != before) and b'!' in (after if isinstance(after, bytes) else b''.join(after.values()))


def test_a_folder_of_the_users_own_where_parts_would_go_is_left_alone(words):
    config = words()
    parts = parts_of(Path(config.output))
    parts.mkdir()
    (parts / 'thesis.txt').write_text('years of work')
    with pytest.raises(OutputError, match='out.csv.parts: holds thesis.txt and no parts'):
        run_job(open_words, config)
    assert os.listdir(parts) == ['thesis.txt']


def test_inputs_that_are_no_files_or_folders_of_pictures_are_sealed_too(tmp_path):
    assert seal(str(tmp_path / 'nothing')) == {'bytes': None, 'sha256': None}
    folder = tmp_path / 'frames'
    folder.mkdir()
    (folder / 'a.jpg').write_bytes(b'123')
    first = seal(str(folder))
    (folder / 'a.jpg').write_bytes(b'124')
    assert first['bytes'] == 3 and seal(str(folder))['sha256'] != first['sha256']


def test_no_inputs_and_repeated_inputs_are_refused(words, tmp_path):
    empty = tmp_path / 'empty'
    empty.mkdir()
    with pytest.raises(UsageError, match='no input'):
        run_job(open_words, WordsConfig(str(empty), str(tmp_path / 'x')))

    def twice(config):
        job = open_words(config)
        return Job(job.output, [*job.inputs, job.inputs[2]], job.settings, job.join, job.make)
    with pytest.raises(UsageError, match='2.txt: is named twice'):
        run_job(twice, words())


def test_ray_that_is_not_installed_says_how_to_get_it(words, monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(UsageError, match=r"--ray local: Ray is not installed.*gluon_action\[ray\]"):
        run_job(open_words, words(), ray='local')
    with pytest.raises(UsageError, match='leave --shard out'):
        run_job(open_words, words(), ray='local', shard=Shard(1, 2))
