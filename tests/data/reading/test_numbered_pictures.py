"""Folders of numbered pictures are listed once, as long as they do not change, and take bounded memory."""
import os

import pytest
from videos import read_barcode, write_frames

from gluon_action.data.reading.decoders import numbered_pictures
from gluon_action.data.reading.decoders.numbered_pictures import FolderListings, list_pictures
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.errors import VideoReadError

PATTERN = 'img_%05d.jpg'


@pytest.fixture
def listed(monkeypatch):
    """Folders that were listed, in order; listings of this test only."""
    folders, real = [], os.listdir
    monkeypatch.setattr(numbered_pictures.os, 'listdir', lambda path: folders.append(str(path)) or real(path))
    monkeypatch.setattr('gluon_action.data.reading.decoders.frame_folder.folder_listings', FolderListings(1 << 20))
    return folders


def grown_old(folder, seconds=60):
    """A folder that was last changed a while ago."""
    changed = os.stat(folder).st_mtime_ns - seconds * 10 ** 9
    os.utime(folder, ns=(changed, changed))
    return folder


def touched(folder, names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return str(grown_old(folder))


def test_a_folder_is_listed_once_however_often_it_is_read(tmp_path, listed):
    folder = grown_old(write_frames(tmp_path / 'v', range(1, 9), size=(48, 32)))
    for first in (1, 3, 6):
        with VideoReader(folder, part=(first, first + 1)) as reader:
            assert [read_barcode(frame) for frame in reader.read([0, 1])] == [first, first + 1]
    with VideoReader(folder) as reader:
        assert len(reader) == 8 and read_barcode(reader.read([7])[0]) == 8
    assert listed == [str(folder)]


def test_a_folder_that_has_changed_is_listed_again(tmp_path, listed):
    folder = grown_old(write_frames(tmp_path / 'v', range(1, 4), size=(48, 32)))
    with VideoReader(folder) as reader:
        assert len(reader) == 3
    write_frames(folder, [4], size=(48, 32))
    for _ in range(2):  # it is too new to be believed: another picture may come at the same moment
        with VideoReader(folder) as reader:
            assert len(reader) == 4
    (folder / 'img_00002.jpg').unlink()
    with pytest.raises(VideoReadError, match='frames are missing between its 3: img_00002.jpg'):
        VideoReader(folder)
    assert len(listed) == 4


def test_another_pattern_of_the_same_folder_is_another_listing(tmp_path, listed):
    folder = touched(tmp_path / 'v', ['a_1.jpg', 'a_2.jpg', 'b_5.jpg'])
    listings = FolderListings(1 << 20)
    for _ in range(2):
        assert list(listings.of(folder, 'a_%d.jpg').numbers) == [1, 2]
        assert list(listings.of(folder, 'b_%d.jpg').numbers) == [5]
    assert len(listed) == 2


def test_what_is_remembered_is_bounded_and_the_last_ones_stay(tmp_path, listed):
    folders = [touched(tmp_path / str(number), ['img_00001.jpg']) for number in range(3)]
    listings = FolderListings(2 * numbered_pictures._ENTRY_BYTES)
    for folder in [*folders, folders[2], folders[1], folders[0]]:
        listings.of(folder, PATTERN)
    assert listed == [*folders, folders[0]]
    tiny = FolderListings(1)
    assert len(tiny.of(folders[0], PATTERN).numbers) == 1 and not tiny._known and tiny._bytes == 0


@pytest.mark.parametrize('names, numbers, kept', [
    ([PATTERN % number for number in (3, 4, 5)], range(3, 6), None),
    ([PATTERN % number for number in (3, 5)], [3, 5], None),
    (['img_000003.jpg', 'img_00004.jpg'], range(3, 5), ['img_000003.jpg', 'img_00004.jpg']),
    (['img_100000.jpg', 'img_99999.jpg', 'x.jpg', 'img_123.jpg'], range(99999, 100001), None)])
def test_names_are_kept_only_where_the_pattern_does_not_give_them(tmp_path, names, numbers, kept):
    found = list_pictures(touched(tmp_path / 'v', names), PATTERN)
    assert type(found.numbers) is type(numbers) and (found.numbers, found.names) == (numbers, kept)
    assert {found.name(place) for place in range(len(found.numbers))} <= {*names}
