"""Read the files of the tests by other readers, and print what each makes of them.

    python tests/field/others.py --reader decord --reader torchcodec --reader opencv

A file is right when every frame is what was put into it, or when one that was cut short is refused; wrong when frames
are others, missing or too many and nothing is said. Each is read in a process of its own, which may crash or hang.
"""
from __future__ import annotations

import argparse
import importlib
import multiprocessing
import sys
import tempfile
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).parents[1] / 'support'), str(Path(__file__).parents[2])]

from reading_cases import CASES, Case  # noqa: E402

SECONDS = 60
#: A process that has what readers need, and of which each file gets a copy: PyTorch takes long to import.
PROCESSES = multiprocessing.get_context('forkserver')


def by_gluon_action(path: str) -> list[np.ndarray]:
    from gluon_action.data.reading.video_reader import VideoReader
    with VideoReader(path) as reader:
        return list(reader.read(range(len(reader))))


def by_gluon_action_stream(path: str) -> list[np.ndarray]:
    from gluon_action.data.reading.stream import FrameStream
    with FrameStream(path, on_damage='raise') as stream:
        return [frame.picture for frame in stream]


def by_decord(path: str) -> list[np.ndarray]:
    import decord
    reader = decord.VideoReader(path)
    return list(reader.get_batch(range(len(reader))).asnumpy())


def by_torchcodec(path: str) -> list[np.ndarray]:
    from torchcodec.decoders import VideoDecoder
    decoder = VideoDecoder(path, dimension_order='NHWC')
    return list(decoder.get_frames_in_range(0, len(decoder)).data.numpy())


def by_opencv(path: str) -> list[np.ndarray]:
    import cv2
    capture, frames = cv2.VideoCapture(path), []
    if not capture.isOpened():
        raise OSError('cannot be opened')
    while (got := capture.read())[0]:
        frames.append(got[1][:, :, ::-1])
    return frames


READERS = {'gluon_action': by_gluon_action, 'gluon_action stream': by_gluon_action_stream, 'decord': by_decord,
           'torchcodec': by_torchcodec, 'opencv': by_opencv}
#: Of each reader the module that it cannot do without.
MODULES = {'gluon_action': 'gluon_action', 'gluon_action stream': 'gluon_action', 'decord': 'decord',
           'torchcodec': 'torchcodec.decoders', 'opencv': 'cv2'}


def judge(case: Case, reader: str) -> str:
    """'right', 'refused' or what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(case.make(Path(folder)))
        answers = PROCESSES.SimpleQueue()
        process = PROCESSES.Process(target=_read, args=(case.name, reader, path, answers))
        process.start()
        process.join(SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
            return 'hangs'
        if answers.empty():
            return 'crashes'
        return answers.get()


def _read(name: str, reader: str, path: str, answers) -> None:
    case = next(case for case in CASES if case.name == name)
    try:
        found = [case.seen(frame) for frame in READERS[reader](path)]
    except Exception as error:
        answers.put('right' if case.expected is None else f'refused ({type(error).__name__})')
    else:
        if case.expected is None:
            answers.put(f'wrong: {len(found)} frames, nothing said')
        elif len(found) != len(case.expected):
            answers.put(f'wrong: {len(found)} of {len(case.expected)} frames')
        else:
            wrong = sum(one != other for one, other in zip(found, case.expected))
            answers.put(f'wrong: {wrong} of {len(found)} frames' if wrong else 'right')


def _is_there(reader: str) -> bool:
    try:
        importlib.import_module(MODULES[reader])
    except (ImportError, OSError, RuntimeError) as error:  # torchcodec looks for FFmpeg's libraries
        print(f'{reader} is absent: {str(error).strip().splitlines()[0]}', file=sys.stderr)
        return False
    return True


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--reader', action='append', choices=READERS, help='whom to try; by default all')
    parser.add_argument('--case', default='', help='only situations whose name holds this')
    args = parser.parse_args()
    readers = [reader for reader in args.reader or READERS if _is_there(reader)]
    PROCESSES.set_forkserver_preload([MODULES[reader] for reader in readers])
    print('| file |', ' | '.join(readers), '|')
    print('|---|' + '---|' * len(readers))
    for case in CASES:
        if args.case in case.name:
            print(f'| {case.name} |', ' | '.join(judge(case, reader) for reader in readers), '|', flush=True)


if __name__ == '__main__':
    main()
