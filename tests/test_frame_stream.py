"""A stream gives every frame once, in order and with its time, whatever is wrong with some of them, and ends cleanly."""
from __future__ import annotations

import gc
import os
import resource
import subprocess
import sys
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import videos

from gluon_action.data import frame_stream
from gluon_action.data.frame_stream import FrameStream
from gluon_action.data.video_reader import VideoReader
from gluon_action.errors import UsageError, VideoReadError


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp('streams')


@pytest.fixture(scope='module')
def video(folder):
    """An ordinary H.264 file of 60 frames, 96x64, 25 a second."""
    return videos.make_kind('h264_b_frames', folder)[0]


def streamed(path: Path, **arguments) -> tuple[list[int], list[float], list[int], FrameStream]:
    """Numbers that the stream says, times, numbers that the pictures carry, and the stream."""
    with FrameStream(path, **arguments) as stream:
        frames = list(stream)
    return ([frame.number for frame in frames], [round(frame.seconds, 3) for frame in frames],
            [videos.read_barcode(frame.picture) for frame in frames], stream)


@pytest.mark.parametrize('kind', [kind for kind in videos.KINDS if kind != 'av1'])
def test_every_frame_comes_once_in_order_and_on_time(folder, kind):
    path, length = videos.make_kind(kind, folder)
    numbers, seconds, carried, stream = streamed(path)
    assert numbers == carried == list(range(length))
    assert seconds == [round(number / 25, 3) for number in range(length)]
    assert stream.skipped == [] and stream.dropped == 0 and stream.fps == 25


def test_b_frames_packed_into_one_packet_are_told_apart(folder):
    numbers, _, carried, stream = streamed(videos.write_packed_avi(folder / 'packed.avi'))
    assert numbers == carried == list(range(60)) and not stream.skipped


@pytest.mark.parametrize('kind, suffix', [
    ('h264_open_gop', 'mkv'), ('hevc_open_gop', 'mp4'), ('mpeg4_avi_b_frames', 'avi')])
def test_numbers_are_those_of_the_reader_in_a_file_that_was_cut(folder, kind, suffix):
    cut = videos.copy_packets(videos.make_kind(kind, folder)[0], folder / f'cut_{kind}.{suffix}', first_key=2)
    numbers, seconds, carried, stream = streamed(cut)
    with VideoReader(cut) as reader:
        assert carried == [videos.read_barcode(frame) for frame in reader.read(numbers)]
        assert len(numbers) == len(reader)
    assert seconds[0] == 0 and not stream.skipped


def test_frames_hidden_by_an_edit_list_do_not_count(folder, video):
    numbers, seconds, carried, stream = streamed(videos.copy_packets(video, folder / 'edit.mp4', earlier=7 / 25))
    assert (numbers, carried) == (list(range(53)), list(range(7, 60))) and seconds[:2] == [0, 0.04]
    assert not stream.skipped
