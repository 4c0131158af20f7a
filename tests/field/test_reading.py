"""Videos and pictures as people have them: turned, mirrored, cut short, damaged, with several streams, transparent.

Every file is made here, and what must come out of it is computed from what was put in, never by a reader. Where it
makes a difference each situation is read by every decoder that is installed, by number and as a stream.
"""
from __future__ import annotations

import importlib.util
import itertools
import re
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import videos
from bundles import make_bundle
from PIL import Image, ImageFile
from reading_cases import CASES, MATRICES, QUARTERS, SIZE, Case, moved, quarters, quarters_in, write_quarters

from gluon_action.data.reading.media.ffmpeg_log import FfmpegLog
from gluon_action.data.reading.stream import FrameStream
from gluon_action.data.reading.video_reader import VideoReader
from gluon_action.errors import DamagedVideoError, UsageError, VideoReadError

#: Ways to read a file: a decoder's name by number, or 'stream'.
WAYS = ['pyav', *(['decord'] if importlib.util.find_spec('decord') else []), 'stream']
#: Ways to read a folder of pictures.
PICTURE_WAYS = ['opencv', 'pillow', 'stream']


def shown(path: Path, way: str) -> list[np.ndarray]:
    """All frames of a file or a folder."""
    if way == 'stream':
        with FrameStream(path) as stream:
            return [frame.picture for frame in stream]
    with VideoReader(path, decoder=way) as reader:
        return list(reader.read(range(len(reader))))


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Makes the file of a case, once."""
    files: dict[str, Path] = {}

    def make(case: Case) -> Path:
        if case.name not in files:
            files[case.name] = case.make(tmp_path_factory.mktemp('case'))
        return files[case.name]
    return make


# The kinds of tests/data are read there by PyAV and as a stream.
@pytest.mark.parametrize('case, way', [
    pytest.param(case, way, id=f'{case.name}-{way}') for case, way in itertools.product(CASES, WAYS)
    if case.expected is not None and (way == 'decord' or case.name.replace(' ', '_') not in videos.KINDS)])
def test_every_frame_is_what_was_put_into_the_file(made, case, way):
    assert [case.seen(frame) for frame in shown(made(case), way)] == case.expected
    if way != 'stream':
        with VideoReader(made(case), decoder=way) as reader:
            for number in range(len(reader) - 1, -1, -7):
                assert case.seen(reader.read([number])[0]) == case.expected[number]


# ---------------------------------------------------------------- which way up

def assert_quarters(picture: np.ndarray, expected: dict, turned: bool = False):
    assert picture.shape == (*(SIZE if turned else SIZE[::-1]), 3)
    found = quarters_in(picture)
    assert all(abs(found[place] - level) < 8 for place, level in expected.items()), (found, expected)


@pytest.fixture(scope='module')
def plain(tmp_path_factory):
    return write_quarters(tmp_path_factory.mktemp('oriented') / 'plain.mp4')


def oriented(plain: Path, folder: Path, matrix: tuple) -> Path:
    return videos.rotate_by_header(Path(shutil.copy(plain, folder / 'oriented.mp4')), matrix)


@pytest.mark.parametrize('matrix', MATRICES)
def test_what_training_sees_is_the_right_way_up(plain, tmp_path, matrix):
    from gluon_action.data import VideoClsCustom
    oriented(plain, tmp_path, matrix)
    (tmp_path / 'list.txt').write_text('oriented.mp4 4 0\n')
    width, height = SIZE if matrix[0] else SIZE[::-1]
    dataset = VideoClsCustom(str(tmp_path), str(tmp_path / 'list.txt'), new_width=width, new_height=height)
    assert_quarters(dataset.load_frames(0)[0], moved(*matrix), turned=matrix[0] == 0)


def test_what_predict_sees_is_the_right_way_up(plain, tmp_path):
    from gluon_action.deploy.predict.predictor import Predictor
    pictures = []
    predictor = Predictor(make_bundle(tmp_path / 'bundle'))
    for matrix in ((-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0)):
        predictor.stream(oriented(plain, tmp_path, matrix), on_frame=lambda frame: pictures.append(frame.picture))
        assert_quarters(pictures[-1], moved(*matrix), turned=matrix[0] == 0)


@pytest.mark.parametrize('flip, turn', itertools.product(['', 'horizontal', 'vertical'], [0, 90, 180, 270]))
def test_a_camera_says_in_the_stream_itself_which_way_up_it_was(tmp_path, flip, turn):
    """In H.264's own message (ITU-T H.264, D.2.27): flipped first, then turned anticlockwise."""
    source = write_quarters(tmp_path / 'source.mp4')
    told = tmp_path / 'told.mp4'
    how = f'display_orientation=insert:rotate={turn}' + f':flip={flip}' * bool(flip)
    with av.open(str(source)) as given, av.open(str(told), 'w') as written:
        video = given.streams.video[0]
        stream = written.add_stream_from_template(video)
        filtered = av.bitstream.BitStreamFilterContext(f'h264_metadata={how}', video)
        packets = [packet for packet in given.demux(video) if packet.size]
        for packet in [*itertools.chain.from_iterable(map(filtered.filter, packets)), *filtered.filter(None)]:
            packet.stream = stream
            written.mux(packet)
    picture = quarters(QUARTERS, *SIZE)
    picture = {'': picture, 'horizontal': picture[:, ::-1], 'vertical': picture[::-1]}[flip]
    expected = quarters_in(np.rot90(picture, turn // 90))
    for way in ('pyav', 'stream'):
        for frame in shown(told, way):
            assert_quarters(frame, expected, turned=turn % 180 == 90)


# ---------------------------------------------------------------- pictures of a folder

def save(picture: np.ndarray, path: Path, **options) -> Path:
    Image.fromarray(picture).save(path, **options)
    return path


@pytest.mark.parametrize('way', PICTURE_WAYS)
def test_grey_pictures_of_16_bits_keep_their_levels(tmp_path, way):
    """Depth and infrared cameras write them."""
    levels = np.linspace(0, 65535, 64 * 96).astype(np.uint16).reshape(64, 96)
    assert cv2.imwrite(str(tmp_path / 'img_00001.png'), levels)
    folder = tmp_path
    if way == 'stream':
        frames = shown(folder, way)
    else:
        with VideoReader(folder, decoder=way, name_pattern='img_%05d.png') as reader:
            frames = reader.read([0])
    assert (frames[0] == (levels // 256)[:, :, None]).all() and abs(frames[0].mean() - 127) < 1


def transparent_picture(kind: str, path: Path) -> np.ndarray:
    """Write a picture, and return what it is over black: squares of three degrees of transparency."""
    alpha = np.repeat(np.array([0, 128, 255], np.uint8), 32)[None].repeat(64, axis=0)
    if kind == 'palette':
        alpha = np.where(alpha > 200, 255, 0).astype(np.uint8)
    level = 255 if kind == 'palette' else 200
    if kind == 'grey':
        save(np.stack([np.full_like(alpha, level), alpha], axis=-1), path)
    elif kind == 'palette':
        image = Image.fromarray((alpha // 255).astype(np.uint8), 'P')
        image.putpalette([255] * 6)
        image.save(path, transparency=0)
    else:
        save(np.dstack([np.full((64, 96, 3), level, np.uint8), alpha]), path)
    return np.rint(alpha.astype(float) * level / 255)[:, :, None].repeat(3, axis=2)


@pytest.mark.parametrize('way', PICTURE_WAYS)
@pytest.mark.parametrize('kind, name', [('colour', 'img_%05d.png'), ('grey', 'img_%05d.png'),
                                        ('palette', 'img_%05d.png'), ('colour', 'img_%05d.webp')])
def test_transparent_pictures_lie_on_black(tmp_path, way, kind, name):
    expected = transparent_picture(kind, tmp_path / (name % 1))
    if way == 'stream':
        if name.endswith('webp'):
            pytest.skip('no kind of picture that a stream takes')
        frames = shown(tmp_path, way)
    else:
        with VideoReader(tmp_path, decoder=way, name_pattern=name) as reader:
            frames = reader.read([0])
    tolerance = 3 if name.endswith('webp') else 1
    assert frames[0].shape == expected.shape and abs(frames[0] - expected).max() <= tolerance


@pytest.mark.parametrize('way', ['pyav', 'stream'])
def test_a_transparent_gif_lies_on_black(tmp_path, way):
    """White blocks wander over a transparent ground."""
    pictures = []
    for number in range(6):
        pixels = np.zeros((48, 64), np.uint8)
        pixels[16:32, 8 * number:8 * number + 16] = 1
        image = Image.fromarray(pixels, 'P')
        image.putpalette([0, 255, 0, 255, 255, 255])
        pictures.append(image)
    pictures[0].save(tmp_path / 'a.gif', save_all=True, append_images=pictures[1:], duration=40, transparency=0,
                     disposal=2)
    frames = shown(tmp_path / 'a.gif', way)
    assert len(frames) == 6
    for number, frame in enumerate(frames):
        expected = np.zeros((48, 64, 3), int)
        expected[16:32, 8 * number:8 * number + 16] = 255
        assert abs(frame - expected).max() <= 2, number


@pytest.mark.parametrize('way', ['pyav', 'stream'])
def test_a_video_with_an_alpha_channel_lies_on_black(tmp_path, way):
    alpha = np.repeat(np.array([0, 128, 255], np.uint8), 32)[None].repeat(64, axis=0)
    with av.open(str(tmp_path / 'a.mov'), 'w') as container:
        stream = container.add_stream('qtrle', rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, 'argb'
        pixels = np.dstack([np.full((64, 96, 3), 200, np.uint8), alpha])
        for _ in range(2):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgba').reformat(format='argb')))
        container.mux(stream.encode())
    frames = shown(tmp_path / 'a.mov', way)
    assert len(frames) == 2 and abs(frames[1] - np.rint(alpha * (200 / 255))[:, :, None]).max() <= 1


def with_thumbnail(path: Path) -> None:
    """Put a segment behind a JPEG's first marker that holds the end of another picture, as EXIF does."""
    data, thumbnail = path.read_bytes(), b'a small picture\xff\xd9'
    path.write_bytes(data[:2] + b'\xff\xe1' + (2 + len(thumbnail)).to_bytes(2, 'big') + thumbnail + data[2:])


@pytest.mark.parametrize('way', PICTURE_WAYS)
@pytest.mark.parametrize('name', ['img_%05d.jpg', 'img_%05d.png', 'img_%05d.bmp', 'progressive', 'thumbnail'])
def test_a_picture_that_was_cut_off_is_refused(tmp_path, way, name, monkeypatch):
    """OpenCV fills what is missing of a JPEG with grey and says nothing, and Pillow does as GluonCV told it."""
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)
    pattern = name if '%' in name else 'img_%05d.jpg'
    videos.write_frames(tmp_path, (1, 2), pattern=pattern)
    path = tmp_path / (pattern % 2)
    if name == 'progressive':
        save(videos.barcode_frame(2, *SIZE), path, quality=90, progressive=True)
    if name == 'thumbnail':
        with_thumbnail(path)
    if way == 'stream':
        assert len(shown(tmp_path, way)) == 2
    else:
        with VideoReader(tmp_path, decoder=way, name_pattern=pattern) as reader:
            assert videos.read_barcode(reader.read([1])[0]) == 2
    path.write_bytes(path.read_bytes()[:path.stat().st_size * 6 // 10])
    if way == 'stream':
        with FrameStream(tmp_path) as stream:
            assert [videos.read_barcode(frame.picture) for frame in stream] == [1]
        assert path.name in stream.skipped[0].cause
    else:
        with VideoReader(tmp_path, decoder=way, name_pattern=pattern) as reader, \
                pytest.raises(VideoReadError, match=f'{path.name} is ' + 'a picture that was cut off' * (
                    not name.endswith('bmp'))):
            reader.read([1])


@pytest.mark.parametrize('way', PICTURE_WAYS)
def test_what_stands_behind_the_end_of_a_picture_does_not_matter(tmp_path, way):
    """Phones append films to their JPEGs."""
    videos.write_frames(tmp_path, (1,))
    path = tmp_path / 'img_00001.jpg'
    path.write_bytes(path.read_bytes() + bytes(5000))
    assert [videos.read_barcode(frame) for frame in shown(tmp_path, way)] == [1]


@pytest.mark.parametrize('way', PICTURE_WAYS)
def test_two_pictures_for_one_frame_are_refused(tmp_path, way):
    videos.write_frames(tmp_path, (1, 2, 3))
    videos.write_frames(tmp_path, (2,), pattern='img_%06d.jpg')
    cure = 'keep one' if way == 'stream' else '--name-pattern'
    with pytest.raises(VideoReadError, match=f'img_000002.jpg and img_00002.jpg are both frame .*{cure}'):
        shown(tmp_path, way)


def test_a_folder_with_other_names_names_the_option(tmp_path):
    videos.write_frames(tmp_path, (1, 2), pattern='frame_%05d.jpg')
    with pytest.raises(VideoReadError, match='it holds 2 others, such as frame_00001.jpg; --name-pattern'):
        shown(tmp_path, 'opencv')


# ---------------------------------------------------------------- whether all of it is there

@pytest.mark.parametrize('way', WAYS)
@pytest.mark.parametrize('case', [case for case in CASES if case.expected is None], ids=lambda case: case.name)
def test_a_file_that_ends_before_it_says_itself_is_refused_with_both_durations(made, case, way):
    durations = r'cut short.* s of 2\.4| s of the 2\.4.*cut short'
    if way == 'stream':
        with FrameStream(made(case)) as stream:
            numbers = [videos.read_barcode(frame.picture) for frame in stream]
        assert 0 < len(numbers) <= (59 if case.name.endswith('end') else 43)
        assert numbers[:-1] == list(range(len(numbers) - 1))  # what refers to what is not there comes last
        assert re.search(durations, stream.skipped[-1].cause)
    else:
        with pytest.raises(VideoReadError, match=durations):
            shown(made(case), way)


def write_with_sound(path: Path, seconds: float, num_frames: int, codecs: tuple[str, str], **muxer: str) -> Path:
    """Pictures for a while, and sound for another."""
    with av.open(str(path), 'w', options=muxer) as container:
        video = container.add_stream(codecs[0], rate=25)
        video.width, video.height, video.pix_fmt = *SIZE, 'yuv420p'
        sound = container.add_stream(codecs[1], rate=44100, layout='stereo', bit_rate=128000)
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(videos.barcode_frame(number, *SIZE), format='rgb24')
            container.mux(video.encode(frame))
        container.mux(video.encode())
        tone = np.sin(np.arange(int(44100 * seconds)) * 0.1).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.stack([tone] * 2), format='fltp', layout='stereo')
        frame.sample_rate = 44100
        resampler = av.AudioResampler(sound.format, sound.layout, 44100, frame_size=sound.codec_context.frame_size)
        for part in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(sound.encode(part))
        container.mux(sound.encode())
    return path


@pytest.mark.parametrize('way', ['pyav', 'stream'])
@pytest.mark.parametrize('name, seconds, codecs, muxer', [
    ('a.wmv', 4, ('wmv2', 'wmav2'), {}), ('a.flv', 4, ('flv', 'libmp3lame'), {}), ('a.mkv', 4, ('libx264', 'aac'), {}),
    ('a.mp4', 4, ('libx264', 'aac'), {}), ('a.avi', 4, ('mpeg4', 'libmp3lame'), {}),
    ('live.mkv', 1, ('ffv1', 'libmp3lame'), {'live': '1'}),
    ('live.flv', 4, ('flv', 'libmp3lame'), {'flvflags': 'no_duration_filesize'})])
def test_sound_that_goes_on_after_the_pictures_is_no_damage(tmp_path, name, seconds, codecs, muxer, way):
    """Nor is a live recording, which does not say how long it is: FFmpeg guesses, out of the bits of the sound."""
    path = write_with_sound(tmp_path / name, seconds, 30, codecs, **muxer)
    assert [videos.read_barcode(frame) for frame in shown(path, way)] == list(range(30))
    if way == 'stream':
        with FrameStream(path) as stream:
            assert len(list(stream)) == 30 and not stream.skipped


@pytest.mark.parametrize('way', ['pyav', 'stream'])
@pytest.mark.parametrize('name', ['a.mkv', 'a.mp4'])
def test_a_last_frame_that_is_shown_for_long_is_no_damage(tmp_path, name, way):
    """Recordings of screens have a frame where something changed."""
    with av.open(str(tmp_path / name), 'w') as container:
        stream = container.add_stream('libx264', rate=25, options={'bf': '0', 'threads': '1'})
        stream.width, stream.height, stream.pix_fmt = *SIZE, 'yuv420p'
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(videos.barcode_frame(number, *SIZE), format='rgb24')
            frame.pts = number
            for packet in stream.encode(frame):
                packet.duration = packet.duration * 100 if packet.pts == 9 else packet.duration
                container.mux(packet)
        for packet in stream.encode():
            packet.duration = packet.duration * 100 if packet.pts * packet.time_base > 0.35 else packet.duration
            container.mux(packet)
    assert [videos.read_barcode(frame) for frame in shown(tmp_path / name, way)] == list(range(10))


# ---------------------------------------------------------------- decord

@pytest.mark.skipif('decord' not in WAYS, reason='decord is not installed')
def test_decord_leaves_a_mirrored_video_to_pyav_and_says_so(plain, tmp_path, caplog):
    path = oriented(plain, tmp_path, (-1, 0, 0, 1))
    with VideoReader(path, decoder='decord') as reader:
        assert reader.decoder == 'pyav' and 'does not mirror' in reader.fallback_cause
    assert f'{path}: reading with pyav, because decord: it does not mirror pictures' in caplog.text


# ---------------------------------------------------------------- damage

#: Codecs in which a packet is overwritten, and containers. Of WMV2 alone no frame is marked as damaged: FFmpeg's log
#: tells.
DAMAGED = [('wmv2', 'a.wmv', {}), ('mpeg4', 'a.mp4', {}), ('libx264', 'a.mp4', {}), ('mpeg2video', 'a.ts', {}),
           ('msmpeg4', 'a.avi', {}), ('mpeg4', 'b_frames.avi', {'bf': '2'}), ('libx264', 'a.h264', {})]


def decoded(path: Path) -> list[np.ndarray]:
    """All frames as PyAV decodes them one after the other, with what the decoder makes of damage."""
    with av.open(str(path)) as container:
        context, frames = container.streams.video[0].codec_context, []
        context.thread_type = 'SLICE'
        for packet in container.demux(video=0):
            try:
                frames += context.decode(packet if packet.size else None)
            except av.FFmpegError:
                frames.append(None)
        return [None if frame is None else frame.to_ndarray(format='rgb24') for frame in frames]


def wrong_frames(path: Path) -> tuple[list[int], int]:
    """Numbers of the frames that are not as in the file before it was damaged, and how many there are."""
    good, bad = decoded(path.with_stem(path.stem + '_whole')), decoded(path)
    return [number for number, frame in enumerate(bad)
            if frame is None or abs(frame.astype(int) - good[number]).max() > 12], len(bad)


@pytest.mark.parametrize('codec, name, options', DAMAGED)
def test_damage_is_told_with_the_numbers_of_the_frames(tmp_path, caplog, codec, name, options):
    path = videos.write_guessed(tmp_path / name, codec, **options)
    wrong, num_frames = wrong_frames(path)
    assert wrong and num_frames == 60
    with VideoReader(path) as reader:
        whole = [number for number in range(60) if number not in wrong]
        reader.read([number for number in whole if number < 12 or number > 40])
        assert not caplog.records
        reader.read(range(60))
    told = next(record.getMessage() for record in caplog.records if 'damaged, parts of' in record.getMessage())
    assert set(wrong) <= set(numbers_of(told)) <= set(range(12, 40)), told


def numbers_of(told: str) -> list[int]:
    """The frames that a warning names."""
    ranges = re.search(r'frames? ([0-9, to]+) (?:is|are) damaged', told)[1].split(', ')
    return [number for part in ranges for number in range(int(part.split(' to ')[0]), int(part.split(' to ')[-1]) + 1)]


@pytest.mark.parametrize('way', ['pyav', 'stream'])
@pytest.mark.parametrize('kind', videos.KINDS)
def test_nothing_is_said_of_a_whole_video(tmp_path, caplog, kind, way):
    path, length = videos.make_kind(kind, tmp_path)
    if way == 'stream':
        with FrameStream(path, on_damage='raise') as stream:
            assert len(list(stream)) == length
    else:
        for first in (0, length // 3, length // 2):
            with VideoReader(path, on_damage='raise') as reader:
                reader.read(range(first, length, 3))
                reader.read([length - 1, 0])
    assert not caplog.records


def test_what_is_done_about_damage_is_the_users_choice(tmp_path, caplog):
    path = videos.write_guessed(tmp_path / 'a.wmv')
    wrong, _ = wrong_frames(path)
    with VideoReader(path, on_damage='skip') as reader, pytest.raises(VideoReadError, match='damaged, parts of'):
        reader.read(wrong)
    with VideoReader(path, on_damage='raise') as reader, \
            pytest.raises(DamagedVideoError, match=f'{path}: frame.*--on-damage accept takes them'):
        reader.read(wrong)
    assert not caplog.records
    with FrameStream(path) as stream:
        numbers = [frame.number for frame in stream]
    assert 20 not in numbers and 20 in [frame.number for frame in stream.skipped]
    with FrameStream(path, on_damage='accept') as stream:
        assert [frame.number for frame in stream] == list(range(60))
    assert 'frame 20 is damaged' in caplog.text or 'frames 20' in caplog.text
    with FrameStream(path, on_damage='raise') as stream, pytest.raises(DamagedVideoError, match='frame 20 at 0.80 s'):
        list(stream)


def test_a_program_that_listens_to_ffmpeg_itself_goes_on_to(tmp_path):
    path = videos.write_guessed(tmp_path / 'a.wmv')
    av.logging.set_level(av.logging.ERROR)
    try:
        with VideoReader(path) as reader:
            reader.read([20, 21])
        assert av.logging.get_level() == av.logging.ERROR
    finally:
        av.logging.set_level(None)
    with VideoReader(path) as reader:
        reader.read([20, 21])
    assert av.logging.get_level() is None


def test_what_decoders_say_of_whole_videos_is_no_damage():
    """After a beginning in the middle of a file, for one."""
    with FfmpegLog(av) as log:
        av.logging.log(av.logging.ERROR, 'h264', 'mmco: unref short failure')
        av.logging.log(av.logging.INFO, 'h264', 'Reinit context to 96x64, pix_fmt: yuv420p')
        assert not log.damage()
        av.logging.log(av.logging.ERROR, 'h264', 'error while decoding MB 3 1')
        assert log.damage() == 'error while decoding MB 3 1'


@pytest.mark.parametrize('arguments, message', [
    ({'on_damage': 'ignore'}, 'on_damage must be one of accept, skip, raise'),
    ({'on_damage': 'skip', 'decoder': 'decord'}, 'needs PyAV, which hears of damage')])
def test_choices_that_cannot_be_are_refused(plain, arguments, message):
    with pytest.raises(UsageError, match=message):
        VideoReader(plain, **arguments)
