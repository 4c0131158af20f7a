"""A job for tests of `shards`: each input, a text file, gives a line for each of its words."""
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from gluon_action.deploy.sharding.joining import Concatenate, Number
from gluon_action.deploy.sharding.shards import Job
from gluon_action.errors import PartsError


@dataclass(frozen=True)
class WordsConfig:
    """What `open_words` does with the files of a folder.

    `kill` names an input whose process is killed the first time, `fail` one that raises an error when its files are
    written; the file ``calls`` lists the inputs that were begun, with the process.
    """

    folder: str
    output: str
    suffix: str = ''
    numbered: bool = False
    kill: str = ''
    fail: str = ''
    seconds: float = 0.


def open_words(config: WordsConfig) -> Job:
    inputs = sorted(str(path) for path in Path(config.folder).glob('*.txt'))
    calls = Path(config.folder) / 'calls'

    def make(index: int, folder: Path) -> dict:
        path = Path(inputs[index])
        with open(calls, 'a') as file:
            file.write(f'{path.name} {os.getpid()}\n')
        time.sleep(config.seconds)
        mark = calls.with_name('killed')
        if path.name == config.kill and not mark.exists():
            mark.write_text('')
            os.kill(os.getpid(), signal.SIGKILL)
        words = path.read_text().split()
        for number, word in enumerate(words):
            (folder / f'{number:03d}').write_text(f'{word}{config.suffix}\n')
        if path.name == config.fail:
            raise PartsError(f'{path.name}: here it ends')
        return {'words': len(words)}

    join = Number('words-%03d.txt') if config.numbered else Concatenate('Word\n')
    return Job(Path(config.output), inputs, {'suffix': config.suffix}, join, make)


def write_words(folder: Path, count: int = 7) -> Path:
    """`count` files, the number n of which has n words: the first none."""
    folder.mkdir()
    for number in range(count):
        (folder / f'{number}.txt').write_text(' '.join(f'w{number}{place}' for place in range(number)))
    return folder
