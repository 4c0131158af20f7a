"""What a network of features is: all options that decide it, and the file that keeps them, `model_flags.json`."""
from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .errors import ModelError
from .files import open_file, parse_json, write_file
from .input_kind import parse_features
from .options import SWITCH, flag_of, option, options_of, yes_or_no

#: The file of a folder that keeps an architecture, as the original's evaluation reads it.
FILE = 'model_flags.json'
#: How frames are drawn: another choice fits the same parameters.
SAMPLING = ('iterations', 'sample_all', 'sample_random_frames', 'frame_shuffle')
#: How a network is trained: no parameter depends on it either.
TRAINING = ('label_loss', 'moe_l2', 'l2_penalty', 'drop_rate', 'batch_norm_decay')
#: Options of the original that decide nothing there either, or make it crash.
DEAD = ('vlagd', 'netvlad_dimred', 'gatednetvlad_dimred', 'hidden_size', 'netvlad_hidden_size_video',
        'netvlad_hidden_size_audio', 'dbof_var_features', 'dbof_activation')


def _number(default: int | float, help: str, **about) -> Any:
    return option(default, help, underscores=True, group='network', **about)


def _switch(default: bool, help: str, **about) -> Any:
    return option(default, help, underscores=True, group='network', **SWITCH, **about)


def _dead(default: Any) -> Any:
    about = {'type': yes_or_no, 'const': True} if isinstance(default, bool) else {}
    return option(default, 'accepted, and changes nothing: the original never reads it, or stops at it',
                  underscores=True, group='network', **about)


@dataclass(frozen=True)
class Architecture:
    """A network of features: its options are the original's flags, with the original's names and defaults.

    Sources: miha-skalic/youtube8mchallenge, google/youtube-8m, antoine77340/Youtube-8M-WILLOW, and for NeXtVLAD
    linrongc/youtube-8m.

    Raises
    ------
    UsageError
        When features do not match their sizes.
    ModelError
        For a value that no network can have.
    """

    model: str = option(
        'LogisticModel', 'network, by the name of its class in the original. Of whole videos: LogisticModel, MoeModel. '
        'Of frames: attention_frames_v0, DbofModel, FrameLevelLogisticModel, GatedDbofModelLF, GRUbidirect, '
        'GRUbidirect_branchedBN, GruModel, Lstmbidirect, LstmModel, NetFVModelLF, NetVLADModelLF, NeXtVLADModel, '
        'SoftDbofModelLF', underscores=True, group='network', metavar='NETWORK', common=True)
    feature_names: str = option('mean_rgb', 'features of a record, separated by commas', underscores=True,
                                group='network', common=True)
    feature_sizes: str = option('1024', 'numbers of each feature, separated by commas', underscores=True,
                                group='network', common=True)
    frame_features: bool = _switch(
        False, 'features are of frames (--frame_features), else of the whole video', common=True)
    num_classes: int = _number(3862, 'classes', least=1, common=True)
    max_frames: int = _number(300, 'frames of a video that count', least=1, common=True)
    label_loss: str = option('CrossEntropyLoss', 'loss', underscores=True, group='network',
                             choices=('CrossEntropyLoss', 'HingeLoss', 'SoftmaxLoss'))

    iterations: int = _number(30, 'frames that are drawn of a video', least=1)
    sample_random_frames: bool = _switch(True, 'draw single frames; false draws one sequence of them')
    sample_all: bool = _switch(False, 'draw each frame once and further ones at random, --max_frames in all; '
                                      '--iterations says nothing then')
    frame_shuffle: bool = _switch(False, 'shuffle the frames of a video (Lstmbidirect)')

    video_level_classifier_model: str = option(
        'MoeModel', 'classifier of what a network makes of the frames', underscores=True, group='network',
        choices=('LogisticModel', 'MoeModel'))
    moe_num_mixtures: int = _number(2, 'experts of a class, without the one that always says no', least=1)
    moe_l2: float = _number(1e-8, 'L2 penalty of gates and experts', least=0)
    moe_low_rank_gating: int = _number(-1, 'rank of the gates; -1 is full')
    moe_prob_gating: bool = _switch(False, 'gate the probabilities by what they are')
    moe_prob_gating_input: str = option(
        'prob', 'what gates the probabilities: they themselves, or the input of the classifier', underscores=True,
        group='network', choices=('prob', 'input'))
    gating: bool = _switch(False, 'context gating of the hidden layer')
    gating_remove_diag: bool = _switch(False, 'gates look at the other units only')
    batch_norm_decay: float = _number(
        0.999, 'share of its running statistics that batch normalisation keeps at a step, below 1; lower it, say to '
               '0.9, for trainings of few steps, as evaluation uses these statistics', least=0)

    netvlad_cluster_size: int = _number(64, 'clusters of NetVLAD; audio has half of them', least=2)
    netvlad_hidden_size: int = _number(1024, 'units of the hidden layer of NetVLAD', least=1)
    netvlad_relu: bool = _switch(True, 'ReLU6 behind the hidden layer of NetVLAD')
    netvlad_add_batch_norm: bool = _switch(True, 'batch normalisation in NetVLAD and NetFV')
    lightvlad: bool = _switch(False, 'NetVLAD without centres of clusters')
    fv_cluster_size: int = _number(64, 'clusters of NetFV; audio has half of them', least=2)
    fv_hidden_size: int = _number(2048, 'units of the hidden layer of NetFV', least=1)
    fv_relu: bool = _switch(True, 'ReLU6 behind the hidden layer of NetFV')
    fv_couple_weights: bool = _switch(True, "NetFV's centres are its cluster weights times --fv_coupling_factor")
    fv_coupling_factor: float = _number(0.01, 'see --fv_couple_weights')

    dbof_cluster_size: int = _number(8192, 'clusters of bags of frames; of soft ones audio has an eighth', least=8)
    dbof_hidden_size: int = _number(1024, 'units of the hidden layer of bags of frames', least=1)
    dbof_add_batch_norm: bool = _switch(True, 'batch normalisation in bags of frames')
    dbof_relu: bool = _switch(True, 'ReLU6 behind the hidden layer of soft and gated bags of frames')
    dbof_pooling_method: str = option('max', 'how DbofModel pools its clusters over the frames', underscores=True,
                                      group='network', choices=('max', 'average'))
    softdbof_maxpool: bool = _switch(False, 'soft bags of frames give the largest assignment of a cluster too')
    fc_dimred: bool = _switch(True, 'hidden layer behind soft and gated bags of frames')

    lstm_cells: int = _number(1024, 'cells of a layer of recurrent networks', least=2)
    lstm_layers: int = _number(2, 'layers of LstmModel', least=1)
    gru_cells: int = _number(1024, 'cells of a layer of GruModel', least=1)
    gru_layers: int = _number(2, 'layers of GruModel', least=1)
    gru_backward: bool = _switch(False, 'GruModel reads from the last frame to the first')

    nextvlad_cluster_size: int = _number(64, 'clusters of NeXtVLAD; audio has half of them', least=2)
    nextvlad_hidden_size: int = _number(1024, 'units of the hidden layer of NeXtVLAD', least=1)
    groups: int = _number(8, 'groups of NeXtVLAD; audio has half of them', least=2)
    expansion: int = _number(2, 'NeXtVLAD widens a frame by this factor', least=1)
    drop_rate: float = _number(0.5, 'share of the descriptor that NeXtVLAD drops in training', least=0)
    gating_reduction: int = _number(8, 'NeXtVLAD gates by a layer this many times smaller', least=1)
    l2_penalty: float = _number(1e-5, 'L2 penalty of logistic regression behind NeXtVLAD, weights and biases', least=0)

    vlagd: bool = _dead(False)
    netvlad_dimred: int = _dead(-1)
    gatednetvlad_dimred: int = _dead(1024)
    hidden_size: int = _dead(1024)
    netvlad_hidden_size_video: int = _dead(1024)
    netvlad_hidden_size_audio: int = _dead(64)
    dbof_var_features: int = _dead(0)
    dbof_activation: str = _dead('relu')

    def __post_init__(self):
        features = parse_features(self.feature_names, self.feature_sizes)
        # One spelling, so that files and messages compare: the original stops over 'rgb, audio' for 'rgb,audio'.
        object.__setattr__(self, 'feature_names', ','.join(name for name, _ in features))
        object.__setattr__(self, 'feature_sizes', ','.join(str(size) for _, size in features))
        for name, about in options_of(type(self)).items():
            value = getattr(self, name)
            if about.choices and value not in about.choices:
                raise ModelError(f'{about.flag} is one of {", ".join(about.choices)}, got {value!r}')
            if about.least is not None and value is not None and not value >= about.least:
                raise ModelError(f'{about.flag} must be {about.least} or more, got {value!r}')
        if not 0 <= self.drop_rate < 1:
            raise ModelError(f'--drop_rate is at least 0 and less than 1, got {self.drop_rate}')
        if not self.batch_norm_decay < 1:
            raise ModelError(f'--batch_norm_decay is at least 0 and less than 1, got {self.batch_norm_decay}: at 1 the '
                             'running statistics stay what they are at first')
        if self.moe_low_rank_gating != -1 and self.moe_low_rank_gating < 1:
            raise ModelError('--moe_low_rank_gating is a rank from 1, or -1 for gates of full rank, got '
                             f'{self.moe_low_rank_gating}')
        if self.moe_prob_gating and self.moe_prob_gating_input != 'prob' and self.gating_remove_diag:
            raise ModelError(f'--gating_remove_diag with --moe_prob_gating_input={self.moe_prob_gating_input}: gates '
                             'that look at the input have no diagonal to leave out; leave out one of the two')

    @property
    def features(self) -> tuple[tuple[str, int], ...]:
        """Name and size of each feature, in the order of the numbers of a frame."""
        return parse_features(self.feature_names, self.feature_sizes)

    @property
    def width(self) -> int:
        """Numbers D of a frame."""
        return sum(size for _, size in self.features)

    @property
    def length(self) -> int:
        """Frames T of an input; 1 where features are of whole videos."""
        return self.max_frames if self.frame_features else 1

    @property
    def drawn_frames(self) -> int:
        """Frames S that are drawn of a video."""
        return self.max_frames if self.sample_all else self.iterations

    def notes(self) -> list[str]:
        """Return a sentence for each option that does not do what was asked for."""
        options = options_of(type(self))
        said = [f'{options[name].flag} {getattr(self, name)} changes nothing: the original never reads it, or stops at '
                'it' for name in DEAD if getattr(self, name) != options[name].default]
        if self.sample_all and self.iterations != self.max_frames:
            said.append(f'--sample_all draws each of the {self.max_frames} frames, so --iterations {self.iterations} '
                        f'became {self.max_frames}')
        return said

    def merged(self, given: Mapping[str, Any]) -> tuple[Architecture, list[str]]:
        """Return this architecture, which is a stored model's, with what was asked for, as far as it can be had.

        How frames are drawn and how it is trained can be had; what parameters depend on cannot.

        Parameters
        ----------
        given : mapping
            Option -> value, of those that were said, defaults not among them. Names of other options are not looked
            at.

        Returns
        -------
        architecture : Architecture
        warnings : list of str
            At most one: all that differs from what is stored, with both values.
        """
        asked = {name: given[name] for name in options_of(type(self)) if name in given}
        wanted = replace(self, **{name: asked.pop(name) for name in (*SAMPLING, *TRAINING) if name in asked})
        for name in {'feature_names', 'feature_sizes'} & asked.keys():  # as they are kept: 'rgb, audio' is 'rgb,audio'
            asked[name] = ','.join(part.strip() for part in asked[name].split(','))
        other = [f'{flag_of(type(self), name)} {value} (stored: {getattr(self, name)})'
                 for name, value in asked.items() if value != getattr(self, name)]
        return wanted, [f'the stored model decides what it is; ignored: {", ".join(other)}'] if other else []

    def write(self, folder: str | os.PathLike) -> Path:
        """Write ``model_flags.json`` into a folder and return its path: the original's five keys and all others."""
        path = Path(folder) / FILE
        write_file(path, json.dumps(self.to_json(), indent=1) + '\n')
        return path

    def to_json(self) -> dict[str, Any]:
        """Return option -> value, dead ones left out."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name not in DEAD}

    @classmethod
    def read(cls, folder: str | os.PathLike) -> Architecture:
        """Read ``model_flags.json`` of a folder, ours or the original's, whose other options have their defaults.

        Raises
        ------
        ModelError
            When it is not there or is no such file.
        """
        path = Path(folder) / FILE
        try:
            with open_file(path) as file:
                record = parse_json(file.read())
        except OSError as error:
            raise ModelError(f'{path}: cannot be read ({error.strerror}); training writes it, name its --train_dir') \
                from error
        except ValueError as error:
            raise ModelError(f'{path}: is no JSON ({error})') from error
        return cls.from_json(record, path)

    @classmethod
    def from_json(cls, record: Any, source: str | os.PathLike) -> Architecture:
        """Return an architecture from what `to_json` said.

        Parameters
        ----------
        record : object
        source : str or path
            Where it came from, for messages.

        Raises
        ------
        ModelError
            When it is none, or has options that this version does not know.
        """
        known = options_of(cls)
        if not isinstance(record, dict) or 'model' not in record:
            raise ModelError(f'{source}: says no model; a file of this kind is an object with "model", '
                             '"feature_names", "feature_sizes" and "frame_features"')
        strange = [name for name in record if name not in known]
        if strange:
            raise ModelError(f'{source}: has {", ".join(strange)}, which this version does not know; was it written by '
                             'a newer one?')
        for name, value in record.items():
            kind = type(known[name].default)
            if not isinstance(value, (int, float) if kind is float else kind) or isinstance(value, bool) != (
                    kind is bool):
                raise ModelError(f'{source}: {name} is a {kind.__name__}, got {value!r}')
        return cls(**record)
