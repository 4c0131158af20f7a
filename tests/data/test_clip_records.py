"""Clips in TFRecords as a data set: values, labels, and what is told of records that are not what was expected."""
import colorsys
import os

import numpy as np
import pytest

from gluon_action.data.loading.loader import VideoLoader
from gluon_action.data.tfrecords.clips.clip_records import ClipRecords
from gluon_action.data.tfrecords.examples import make_example
from gluon_action.data.tfrecords.framing import RecordWriter
from gluon_action.data.transforms import color
from gluon_action.errors import RecordError, TrainingError, UsageError

SHAPE = (4, 6, 8, 3)
GEOMETRY = dict(num_classes=5, clip_length=4, height=6, width=8)


def pixels(number, shape=SHAPE):
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def hot(*classes, num_classes=5):
    label = np.zeros(num_classes, np.uint8)
    label[list(classes)] = 1
    return label


def write(path, clips):
    """Write (pixels, label) pairs, or ready examples."""
    with RecordWriter(path) as writer:
        for clip in clips:
            features = clip if isinstance(clip, dict) else {'feature': clip[0].tobytes(), 'label': clip[1].tobytes()}
            writer.write(make_example(features))
    return path


@pytest.fixture
def folder(tmp_path):
    """Two files of 3 and 2 clips; clip i has label i."""
    write(tmp_path / 'b.tfrecord', [(pixels(i), hot(i)) for i in (3, 4)])
    write(tmp_path / 'a.tfrecord', [(pixels(i), hot(i)) for i in (0, 1, 2)])
    return tmp_path


def test_clips_come_in_the_order_of_files_and_records(folder):
    records = ClipRecords(folder, **GEOMETRY)
    assert [sample.key for sample in records.samples] == [
        'a.tfrecord#0', 'a.tfrecord#1', 'a.tfrecord#2', 'b.tfrecord#0', 'b.tfrecord#1']
    assert len(records) == 5 and records.samples[4].where == f'{folder}/b.tfrecord record 1'
    for index in range(5):
        clip, label = records.load(index)
        assert (clip.shape, clip.dtype, clip.flags.c_contiguous) == ((1, 3, 4, 6, 8), np.float32, True)
        expected = (pixels(index).astype(np.float32) / np.float32(255) - np.float32(0.5)) * np.float32(2)
        assert (clip[0] == expected.transpose(3, 0, 1, 2)).all()
        assert label.dtype == np.float32 and label.tolist() == hot(index).tolist()


@pytest.mark.parametrize('multi_label', [True, False])
def test_clips_without_labels_are_read_where_none_are_needed(tmp_path, multi_label):
    write(tmp_path / 'a.tfrecord', [(pixels(0), hot(2)), {'feature': pixels(1).tobytes()}])
    given = dict(**GEOMETRY, multi_label=multi_label)
    clips = ClipRecords(tmp_path, **given, need_labels=False)
    labelled, bare = (clips.load(index) for index in range(2))
    assert np.isnan(bare[1]).all() and bare[0].shape == labelled[0].shape
    assert np.shape(bare[1]) == np.shape(labelled[1]) == ((5,) if multi_label else ())
    assert clips.read(1)[1] is None and (clips.read(1)[0] == pixels(1)).all()
    with pytest.raises(RecordError, match="has no 'label'"):
        ClipRecords(tmp_path, **given).load(1)


def test_values_fill_minus_one_to_one(tmp_path):
    ramp = np.zeros(SHAPE, np.uint8)
    ramp[0, 0, :, 0] = (0, 255, 128, 127, 1, 254, 64, 192)
    write(tmp_path / 'a.tfrecord', [(ramp, hot(0))])
    row = ClipRecords(tmp_path, **GEOMETRY).load(0)[0][0, 0, 0, 0]
    assert row.tolist() == pytest.approx([n / 255 for n in (-255, 255, 1, -1, -253, 253, -127, 129)], abs=1e-7)


def test_stored_flow_of_128_is_no_motion(tmp_path):
    flow = np.full((4, 6, 8, 2), 128, np.uint8)
    flow[0, 0, :4] = [(255, 1), (129, 127), (0, 0), (128, 255)]
    write(tmp_path / 'a.tfrecord', [(flow, hot(0))])
    clip = ClipRecords(tmp_path, channels=2, **GEOMETRY).load(0)[0]
    assert clip.shape == (1, 2, 4, 6, 8) and (clip[0, :, 1:] == 0).all()
    assert clip[0, :, 0, 0, :4].T.tolist() == [pytest.approx(pair) for pair in
                                                [(1, -1), (1 / 127, -1 / 127), (-1, -1), (0, 1)]]


def test_a_single_label_is_its_number(folder):
    records = ClipRecords(folder, multi_label=False, **GEOMETRY)
    assert [records.load(index)[1] for index in range(5)] == list(range(5))
    assert type(records.load(0)[1]) is int


@pytest.mark.parametrize('classes, told', [((), '0 classes'), ((1, 3), '2 classes')])
def test_a_single_label_must_be_exactly_one(tmp_path, classes, told):
    write(tmp_path / 'a.tfrecord', [(pixels(0), hot(0)), (pixels(1), hot(*classes))])
    assert ClipRecords(tmp_path, **GEOMETRY).load(1)[1].sum() == len(classes)
    with pytest.raises(RecordError, match=f'record 1: its label names {told}, expected exactly one'):
        ClipRecords(tmp_path, multi_label=False, **GEOMETRY).load(1)


@pytest.mark.parametrize('setting, files', [('.', 2), ('a.tfrecord', 1), ('*.tfrecord', 2), ('[b]*', 1)])
def test_a_folder_a_pattern_or_a_file_is_opened(folder, setting, files):
    records = ClipRecords(os.path.normpath(folder / setting), **GEOMETRY)
    assert len({sample.path for sample in records.samples}) == files


def test_a_folder_whose_name_looks_like_a_pattern_is_opened(tmp_path):
    (tmp_path / 'run[1]').mkdir()
    path = write(tmp_path / 'run[1]' / 'a.tfrecord', [(pixels(0), hot(0))])
    assert len(ClipRecords(tmp_path / 'run[1]', **GEOMETRY)) == len(ClipRecords(path, **GEOMETRY)) == 1


def test_classes_stand_beside_the_records(folder):
    assert ClipRecords(folder, **GEOMETRY).classes is None
    (folder / 'classes.txt').write_text('gate\ntrain\ncar\nbike\nwalking person\n')
    assert ClipRecords(folder, **GEOMETRY).classes == ['gate', 'train', 'car', 'bike', 'walking person']
    with pytest.raises(UsageError, match='names 5 classes, but --num_classes is 204; pass --num_classes 5'):
        ClipRecords(folder, **{**GEOMETRY, 'num_classes': 204})


def test_the_digest_tells_other_records_apart(folder):
    before = ClipRecords(folder, **GEOMETRY).list_sha256
    assert ClipRecords(folder, **GEOMETRY).list_sha256 == before
    write(folder / 'b.tfrecord', [(pixels(3), hot(3)), (pixels(5), hot(4))])
    assert ClipRecords(folder, **GEOMETRY).list_sha256 != before


def test_no_clip_is_read_when_a_folder_is_opened(tmp_path):
    write(tmp_path / 'a.tfrecord', [(pixels(i), hot(i)) for i in range(5)])
    whole = (tmp_path / 'a.tfrecord').read_bytes()
    (tmp_path / 'a.tfrecord').write_bytes(whole.replace(pixels(2).tobytes(), bytes(pixels(2).size)))
    records = ClipRecords(tmp_path, **GEOMETRY)  # a clip of other pixels than its checksum is not noticed here
    with pytest.raises(RecordError, match='is damaged'):
        records.load(2)


# What is not as expected.

def test_every_torn_file_is_named_with_its_byte(folder):
    second = (folder / 'a.tfrecord').stat().st_size // 3
    for name, kept in (('a', second + 20), ('b', 4)):
        path = folder / f'{name}.tfrecord'
        path.write_bytes(path.read_bytes()[:kept])
    write(folder / 'c.tfrecord', [(pixels(0), hot(0))])
    with pytest.raises(RecordError) as told:
        ClipRecords(folder, **GEOMETRY)
    assert f'{folder}/a.tfrecord, byte {second}: the file is torn' in str(told.value)
    assert f'And of the 3 files also: {folder}/b.tfrecord, byte 0: the file is torn' in str(told.value)


def test_a_flipped_bit_is_told_by_file_and_byte(folder):
    path = folder / 'a.tfrecord'
    content = bytearray(path.read_bytes())
    record = len(content) // 3
    content[record + 100] ^= 4
    path.write_bytes(content)
    records = ClipRecords(folder, **GEOMETRY)
    with pytest.raises(RecordError, match=rf'a.tfrecord, byte {record}: record 1 of {record - 16} bytes, .* damaged'):
        records.load(1)
    assert records.load(2)[0].shape == (1, 3, 4, 6, 8)


WRONG = {
    'frames': ({'feature': bytes(9 * 6 * 8 * 3), 'label': bytes(5)},
               r'its feature has 1296 bytes, expected 576: 4 frames x 6 x 8 x 3; are the clips of 9 frames\? '
               'pass --clip_length 9'),
    'size': ({'feature': bytes(4 * 5 * 5 * 3), 'label': bytes(5)}, r'has 300 bytes, expected 576: .*are the frames '
             r'5 x 5\? pass --frame_height 5 --frame_width 5'),
    'neither': ({'feature': bytes(7), 'label': bytes(5)}, 'has 7 bytes, expected 576.* pass the --clip_length, '
                '--frame_height, --frame_width and --channels'),
    'empty': ({'feature': b'', 'label': bytes(5)}, 'has 0 bytes, expected 576'),
    'classes': ({'feature': pixels(0).tobytes(), 'label': bytes(57)},
                r'its label has 57 bytes, expected one for each of 5 classes; are there 57\? pass --num_classes 57'),
    'no label': ({'feature': pixels(0).tobytes(), 'id': b'x'}, "has no 'label', only 'feature', 'id'"),
    'numbers': ({'feature': pixels(0).tobytes(), 'label': [0, 1, 0, 0, 0]},
                r"its 'label' is a list of numbers \(int64\); raw bytes are expected"),
    'frame by frame': ({'feature': [b'x'] * 4, 'label': bytes(5)},
                       "its 'feature' has 4 strings of bytes, expected one"),
    'not 0 or 1': ({'feature': pixels(0).tobytes(), 'label': bytes([0, 255, 0, 0, 0])},
                   'its label holds 255 for class 1'),
}


@pytest.mark.parametrize('kind', WRONG)
def test_a_record_of_another_kind_is_told_with_what_to_pass(tmp_path, kind):
    features, told = WRONG[kind]
    path = write(tmp_path / 'a.tfrecord', [(pixels(0), hot(0)), features])
    with pytest.raises(RecordError, match=rf'{path}, byte \d+: record 1: .*{told}'):
        ClipRecords(tmp_path, **GEOMETRY).load(1)


def test_a_record_that_is_no_example_is_told(tmp_path):
    with RecordWriter(tmp_path / 'a.tfrecord') as writer:
        writer.write(b'\xff' * 20)
    with pytest.raises(RecordError, match='a.tfrecord, byte 0: record 0: it is not a tf.train.Example'):
        ClipRecords(tmp_path, **GEOMETRY).load(0)


@pytest.mark.parametrize('setting, told', [
    ('', r'no file is called .*\*.tfrecord; .* is empty'), ('train-*', r'no file is called .*train-\*; .* is empty'),
    ('missing/deeper/*.tfrecord', r'no file is called .*missing/deeper/\*.tfrecord; .* is empty')])
def test_a_pattern_that_nothing_fits_is_named(tmp_path, setting, told):
    with pytest.raises(UsageError, match=told):
        ClipRecords(tmp_path / setting, **GEOMETRY)
    (tmp_path / 'videos.csv').touch()
    with pytest.raises(UsageError, match='holds videos.csv; pass a folder of .tfrecord files or a pattern in quotes'):
        ClipRecords(tmp_path / setting, **GEOMETRY)


def test_files_without_records_are_told(tmp_path):
    write(tmp_path / 'a.tfrecord', [])
    with pytest.raises(UsageError, match='no clips; 1 file without any record'):
        ClipRecords(tmp_path, **GEOMETRY)


@pytest.mark.parametrize('wrong', [{'num_classes': 0}, {'clip_length': 0}, {'height': -1}, {'channels': 0}])
def test_sizes_that_cannot_be_are_refused(folder, wrong):
    with pytest.raises(UsageError, match='must be 1 or more, got'):
        ClipRecords(folder, **{**GEOMETRY, **wrong})


# As a loader reads them.

@pytest.mark.parametrize('workers', [0, 2])
def test_a_loader_makes_batches_of_them(folder, workers):
    with VideoLoader(ClipRecords(folder, **GEOMETRY), 2, num_workers=workers) as loader:
        batches = list(loader.epoch(0))
    assert [batch.data.shape for batch in batches] == [(2, 3, 4, 6, 8)] * 2 + [(1, 3, 4, 6, 8)]
    assert np.concatenate([batch.label for batch in batches]).tolist() == np.eye(5).tolist()
    expected = ClipRecords(folder, **GEOMETRY).load(3)[0][0]
    assert (batches[1].data[1] == expected).all()


@pytest.mark.parametrize('workers', [0, 2])
def test_a_loader_leaves_damaged_records_out_and_counts_them(folder, workers):
    path = folder / 'a.tfrecord'
    path.write_bytes(path.read_bytes().replace(pixels(1).tobytes(), bytes(pixels(1).size)))
    records = ClipRecords(folder, **GEOMETRY)
    with VideoLoader(records, 3, num_workers=workers, on_error='skip', max_skip_share=0.2) as loader:
        batches = list(loader.epoch(0))
    assert [batch.indices for batch in batches] == [[0, 2], [3, 4]]
    failure, = batches[0].failures
    assert (failure.index, failure.key) == (1, 'a.tfrecord#1') and str(path) in failure.message
    with VideoLoader(records, 3, num_workers=workers) as loader, pytest.raises(RecordError, match='is damaged'):
        list(loader.epoch(0))
    with VideoLoader(records, 3, num_workers=workers, on_error='skip', max_skip_share=0.1) as loader:
        with pytest.raises(TrainingError, match='1 of 5 samples could not be read'):
            list(loader.epoch(0))


# Colours.

@pytest.fixture
def picture():
    return np.random.default_rng(1).random((2, 5, 7, 3), dtype=np.float32)


def by_pixel(clip, change):
    """`change` of (hue, saturation, value) in 0..1, by Python's own conversion."""
    changed = [colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*map(float, rgb)))) for rgb in clip.reshape(-1, 3)]
    return np.array(changed).reshape(clip.shape)


def test_saturation_and_hue_are_those_of_the_colour_circle(picture):
    assert color.adjust_saturation(picture, 1.1) == pytest.approx(
        by_pixel(picture, lambda h, s, v: (h, min(1, 1.1 * s), v)), abs=1e-5)
    for delta in (0.05, -0.05):
        assert color.adjust_hue(picture, delta) == pytest.approx(
            by_pixel(picture, lambda h, s, v, delta=delta: ((h + delta) % 1, s, v)), abs=1e-5)


def test_contrast_is_about_the_mean_of_each_frame(picture):
    changed = color.adjust_contrast(picture, 0.9)
    for frame, before in zip(changed, picture):
        mean = before.mean(axis=(0, 1))
        assert frame == pytest.approx(mean + 0.9 * (before - mean), abs=1e-6)


def test_brightness_is_added(picture):
    assert color.adjust_brightness(picture, -0.03) == pytest.approx(picture - 0.03, abs=1e-6)


def test_all_frames_of_a_clip_are_changed_alike(picture):
    still = np.repeat(picture[:1], 4, axis=0)
    seen = set()
    for seed in range(40):
        changed = color.distort_colors(still, np.random.default_rng(seed))
        assert (changed == changed[:1]).all() and changed.min() >= 0 and changed.max() <= 1
        assert changed.dtype == np.float32 and 0 < abs(changed - still).max() < 0.5
        seen.add(changed.tobytes())
    assert len(seen) == 40


def test_there_are_four_orders(picture, monkeypatch):
    largest = {step: (limits[1], limits[1]) for step, limits in color._LIMITS.items()}
    monkeypatch.setattr(color, '_LIMITS', largest)
    assert len({color.distort_colors(picture, np.random.default_rng(seed)).tobytes() for seed in range(40)}) == 4


def test_augmented_clips_depend_on_seed_epoch_index_and_view_alone(folder):
    records = ClipRecords(folder, augment=color.distort_colors, **GEOMETRY)
    first = records.load(1, epoch=2)[0]
    again = ClipRecords(folder, augment=color.distort_colors, **GEOMETRY).load(1, epoch=2)[0]
    assert (first == again).all() and abs(first).max() <= 1 and first.flags.c_contiguous
    others = [records.load(1, epoch=3)[0], records.load(1, epoch=2, view=1)[0],
              ClipRecords(folder, augment=color.distort_colors, seed=1, **GEOMETRY).load(1, epoch=2)[0]]
    assert all((first != other).any() for other in others)
    plain = ClipRecords(folder, **GEOMETRY).load(1)[0]
    assert (plain != first).any() and abs(plain - first).mean() < 0.3


def test_colours_of_flow_are_not_changed(tmp_path):
    write(tmp_path / 'a.tfrecord', [(pixels(0, (4, 6, 8, 2)), hot(0))])
    with pytest.raises(UsageError, match='colours are changed in clips of 3 channels, these have 2'):
        ClipRecords(tmp_path, channels=2, augment=color.distort_colors, **GEOMETRY)
