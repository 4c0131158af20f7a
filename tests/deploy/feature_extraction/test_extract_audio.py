"""Audio features of a user's own videos: where VGGish's weights are given."""
import json
import os
from pathlib import Path

import numpy as np
import pytest
from sounds import write_sounding_video
from tiny import NAME, forget, register_tiny, save_tiny
from torch_file_writer import write_torch_file
from vggish_files import embed, in_port, random_vggish, write_pca
from videos import write_video

from gluon_action.cli import main as commands
from gluon_action.data.reading.media.audio import mel_pieces, read_audio
from gluon_action.data.tfrecords.examples import byte_rows, parse_example, parse_sequence_example
from gluon_action.data.tfrecords.framing import RecordFile
from gluon_action.deploy.feature_extraction.audio import AudioFeatures
from gluon_action.errors import UsageError, WeightsError


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """A video with sound and one without, weights of both networks, and a PCA of each."""
    folder, here = tmp_path_factory.mktemp('audio'), os.getcwd()
    register_tiny()
    os.chdir(folder)
    write_sounding_video(Path('loud.mkv'), seconds=3.5)
    write_video(Path('silent.mp4'), 40, fps=10)
    Path('list.csv').write_text('loud.mkv,1\nsilent.mp4,2\n')
    save_tiny(folder, 5, 1)[0].rename('weights.params')
    write_torch_file(Path('vggish.pth'), in_port(random_vggish()))
    write_pca(Path('vggish_pca.npz'))
    assert extract('first', '--fit_pca', 'pca.npz') == 0
    yield folder
    os.chdir(here)
    forget(NAME)


def extract(output, *flags):
    return commands.main(['youtube8m', 'extract_features', '--input_videos_csv', 'list.csv', '--output_tfrecords_file',
                          output, '--backbone', NAME, '--backbone_params', 'weights.params', '--pca_size', '4', *flags])


AUDIO = ('--pca', 'pca.npz', '--audio_params', 'vggish.pth', '--audio_pca', 'vggish_pca.npz')


def records(path, parse=parse_sequence_example):
    file = RecordFile(path)
    return [parse(file.read(index)) for index in range(len(file))]


def test_each_frame_has_the_sound_from_it_on(place):
    assert extract('out', *AUDIO) == 0
    (_, loud), (_, silent) = records('out')
    vectors, means = write_pca(Path('again.npz'))
    embedded = embed(mel_pieces(read_audio('loud.mkv'), np.arange(4.)), random_vggish())
    white = np.clip((embedded - means) @ vectors.T, -2, 2)
    stored = byte_rows(loud['audio'])
    assert stored.shape == (4, 128) and np.abs(stored - (white + 2) * 255 / 4 + 0.5).max() < 0.52
    assert len(np.unique(stored)) > 50 and (byte_rows(silent['audio']) == 127).all()
    about = [entry['about'] for entry in json.loads(Path('out.manifest.json').read_text())['inputs']]
    assert [found['audio'] for found in about] == [True, False]


def test_means_of_sound_are_those_of_its_frames_and_of_none_zero(place):
    assert extract('frames', *AUDIO) == 0 and extract('means', *AUDIO, '--skip_frame_level_features') == 0
    loud, silent = records('means', parse_example)
    rows = byte_rows(records('frames')[0][1]['audio']).astype(float) * 4 / 255 + 4 / 512 - 2
    np.testing.assert_allclose(loud['mean_audio'], rows.mean(0), atol=1e-6)
    assert not silent['mean_audio'].any()


def test_networks_and_pcas_of_sound_are_not_mixed_in_one_output(place, capsys):
    assert extract('mixed', *AUDIO, '--shard', '1/2') == 0
    write_pca(Path('other.npz'), seed=4)
    assert extract('mixed', *AUDIO[:-1], 'other.npz', '--shard', '2/2') == 1
    assert 'audio pca_sha256' in capsys.readouterr().err
    assert extract('mixed', '--pca', 'pca.npz', '--shard', '2/2') == 1
    assert 'audio {' in capsys.readouterr().err


@pytest.mark.parametrize('flags, told', [
    (('--audio_params', 'vggish.pth'), '--audio_params and --audio_pca: go together'),
    (('--audio_pca', 'vggish_pca.npz'), '--audio_params and --audio_pca: go together'),
    (('--audio_params', 'vggish.pth', '--audio_pca', 'nothing.npz'), '--audio_pca nothing.npz: does not exist'),
    (('--audio_params', 'vggish.pth', '--audio_pca', 'short.npz'), 'gives 5 numbers, and an audio feature has 128')])
def test_what_does_not_go_together_is_refused(place, capsys, flags, told):
    write_pca(Path('short.npz'), size=5)
    assert extract('never', '--pca', 'pca.npz', *flags) == 2 and told in capsys.readouterr().err


def test_files_that_are_no_pca_of_vggish_are_refused(place):
    np.savez('means_only.npz', pca_means=np.zeros((7, 1)))
    write_pca(Path('wide.npz'), width=9)
    for name, told in (('means_only.npz', 'holds no PCA of VGGish'), ('wide.npz', 'no PCA of the 7 numbers'),
                       ('vggish.pth', 'holds no PCA of VGGish')):
        with pytest.raises(WeightsError, match=f'{name}: .*{told}'):
            AudioFeatures('vggish.pth', name)
    with pytest.raises(UsageError, match='does not exist'):
        AudioFeatures('vggish.pth', 'no.npz')
