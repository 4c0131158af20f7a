"""The sound of videos, and the log mel spectrogram that VGGish takes."""
import math

import av
import numpy as np
import pytest
from sounds import write_sounding_video
from videos import make_broken, write_frames, write_video

from gluon_action.data.reading.media.audio import RATE, mel_pieces, read_audio
from gluon_action.errors import VideoReadError


@pytest.fixture(scope='module')
def bands():
    """The triangles (256, 64) of the frequencies 1 to 256, one by one."""
    def mel(hertz):
        return 1127 * math.log(1 + hertz / 700)

    edges = [mel(125) + place * (mel(7500) - mel(125)) / 65 for place in range(66)]
    weights = np.zeros((256, 64))
    for number in range(256):
        place = mel((number + 1) * 16000 / 512)
        for band, (low, middle, high) in enumerate(zip(edges, edges[1:], edges[2:])):
            weights[number, band] = max(0, min((place - low) / (middle - low), (high - place) / (high - middle)))
    return weights


def by_the_definition(samples, start, bands):
    """Log mel of 96 frames in float64: a Fourier transform as a sum, bands, logarithm."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    wave = np.exp(-2j * np.pi * np.outer(np.arange(1, 257), np.arange(400)) / 512)
    padded = np.concatenate([samples, np.zeros(200000)])
    frames = np.stack([padded[start + 160 * number:start + 160 * number + 400] for number in range(96)])
    return np.log(np.abs((frames * window) @ wave.T) @ bands + 0.01)


@pytest.mark.parametrize('seconds, count', [(0.1, 20000), (0.9, 20000), (1.2, 20000), (5, 300)])
def test_pieces_follow_the_definition_and_end_in_silence(seconds, count, bands):
    samples = np.random.default_rng(0).uniform(-1, 1, count)
    (piece,) = mel_pieces(samples, np.array([seconds]))
    assert piece.shape == (96, 64) and piece.dtype == np.float32
    np.testing.assert_allclose(piece, by_the_definition(samples, round(seconds * 16000), bands), atol=1e-5)


def test_several_pieces_are_each_what_it_is_alone():
    samples = np.random.default_rng(1).uniform(-1, 1, 40000)
    moments = np.array([0, 0.5, 1, 2])
    together = mel_pieces(samples, moments)
    for piece, moment in zip(together, moments):
        np.testing.assert_array_equal(piece, mel_pieces(samples, np.array([moment]))[0])
    assert (mel_pieces(np.zeros(0), np.array([0.]))[0] == np.float32(np.log(0.01))).all()


@pytest.mark.parametrize('rate, channels', [(44100, 2), (16000, 1), (8000, 1), (48000, 2)])
def test_a_tone_keeps_its_pitch_whatever_it_was_stored_as(tmp_path, rate, channels):
    write_sounding_video(tmp_path / 'a.mkv', seconds=2, hertz=1000, rate=rate, channels=channels)
    samples = read_audio(tmp_path / 'a.mkv')
    assert samples.dtype == np.float32 and abs(len(samples) - 2 * RATE) < 1200
    spectrum = np.abs(np.fft.rfft(samples[4000:20000]))
    assert abs(spectrum.argmax() - 1000) <= 1 and 0.35 < np.abs(samples[4000:20000]).max() < 0.65


def test_no_more_is_read_than_is_wanted(tmp_path):
    write_sounding_video(tmp_path / 'a.mkv', seconds=3)
    whole, part = read_audio(tmp_path / 'a.mkv'), read_audio(tmp_path / 'a.mkv', 0.5)
    np.testing.assert_array_equal(part, whole[:RATE // 2])


def test_what_has_no_sound_gives_none_and_what_is_no_video_its_error(tmp_path):
    assert read_audio(write_video(tmp_path / 'a.mp4', 3)) is None
    write_frames(tmp_path / 'folder', range(3))
    assert read_audio(tmp_path / 'folder') is None
    with pytest.raises(VideoReadError, match='its sound cannot be decoded'):
        read_audio(make_broken('garbage', tmp_path))


def test_channels_and_rate_may_change_within_a_track(tmp_path):
    stretches = []
    for layout, rate, hertz in (('stereo', 44100, 440), ('mono', 44100, 1000), ('stereo', 22050, 2000)):
        tone = (16384 * np.sin(2 * np.pi * hertz * np.arange(rate) / rate)).astype(np.int16)
        path = tmp_path / f'{layout}{rate}.aac'
        with av.open(str(path), 'w', format='adts') as container:
            stream = container.add_stream('aac', rate=rate, layout=layout)
            frame = av.AudioFrame.from_ndarray(np.repeat(tone, stream.channels)[None], format='s16', layout=layout)
            frame.sample_rate = rate
            container.mux(stream.encode(frame))
            container.mux(stream.encode())
        stretches.append(path.read_bytes())
    (tmp_path / 'all.aac').write_bytes(b''.join(stretches))
    samples = read_audio(tmp_path / 'all.aac')
    assert abs(len(samples) - 3 * RATE) < 0.3 * RATE
    for number, hertz in enumerate((440, 1000, 2000)):
        part = samples[number * RATE + RATE // 4:][:RATE // 2]
        assert abs(2 * np.abs(np.fft.rfft(part * np.hanning(len(part)))).argmax() - hertz) <= 4
        assert 0.2 < np.sqrt((part ** 2).mean()) < 0.5
