"""Damaged lists, records and arrays: whatever they hold, they are read or refused with our own errors."""
import io
import json
import os

import numpy as np
from feature_records import SMALL, Video
from fuzzing import amounts, check
from mutations import damaged, damaged_archive, framed, json_text, other_json, rng_of

from gluon_action.data.flow.folder import FlowFolder
from gluon_action.data.lists.annotations import FORMATS, read_annotations
from gluon_action.data.lists.classes.class_files import read_class_names
from gluon_action.data.lists.parts_of_videos import read_clip_annotations
from gluon_action.data.reading.single_clip import flow_clip
from gluon_action.data.tfrecords.clips.clip_records import ClipRecords
from gluon_action.data.tfrecords.examples import make_example
from gluon_action.data.tfrecords.features.frame_features import FeatureRecords
from gluon_action.wire import masked_crc32c

TEXTS = {
    'gluoncv': 'a/v1.mp4 120 0\n"a b/v2.mp4" 90 1\nv3 30 2\n',
    'path_label': 'a.mp4,0\nb.mp4,1\n',
    'table': 'path,label,start,end,num_frames,split\na.mp4,0,0.5,2,100,train\nb.mp4,1,0:01,0:02.5,50,val\n',
    'kinetics': 'label,youtube_id,time_start,time_end,split\nclap,abc,1,11,train\nwave,def,2,12,train\n',
    'multi_label': 'a.mp4 0 2\nb.mp4 1\n',
    'multi_label_frames': 'a.mp4 100 0,2\nb.mp4 50 1\n',
    'ucf101': 'Bow/v_Bow_g01.avi 1\nRow/v_Row_g02.avi 2\n',
    'somethingsomethingv1': '1;Holding something\n2;Closing something\n',
    'epic': 'participant_id,video_id,start_frame,stop_frame,action_class\nP01,P01_01,1,50,3\nP01,P01_02,8,90,1\n',
}
DOCUMENTS = {
    'json': [{'path': 'a.mp4', 'label': 1, 'start': 0.5, 'end': 2, 'split': 'train'},
             {'path': 'b.mp4', 'label': 0, 'num_frames': 7, 'split': 'val'}],
    'json of labels': {'a.mp4': 1, 'b.mp4': [0]},
    'somethingsomethingv2': [{'id': '1', 'template': 'Holding [something]'}, {'id': 2, 'template': 'Closing [it]'}]}
OF_FILES = [name for name in FORMATS if name not in ('folder', 'hmdb51')]
PARTS = 'video,start,end,labels\na.mp4,0,2.5,"0,2"\nb.mp4,1,3,1\n'


@amounts(600)
def test_lists(tmp_path, cases):
    (tmp_path / 'classInd.txt').write_text('1 Bow\n2 Row\n')
    sources = [*TEXTS.items(), *DOCUMENTS.items()]

    def read(number):
        rng = rng_of('lists', number)
        kind, content = sources[number % len(sources)]
        path = tmp_path / ('list.json' if kind in DOCUMENTS else 'list.txt')
        path.write_bytes(json_text(content, rng) if kind in DOCUMENTS else damaged(content.encode(), rng))
        named = rng.choice(('auto', kind if kind in FORMATS else 'auto', rng.choice(OF_FILES)))
        read_annotations(str(path), str(tmp_path), list_format=named, multi_label=kind.startswith('multi'),
                         split=rng.choice(('train', 'val')), label_base=rng.choice((None, 0, 1)))
    check(read, cases)


@amounts(400)
def test_lists_of_parts_of_videos(tmp_path, cases):
    def read(number):
        rng = rng_of('parts', number)
        if number % 2:
            path = tmp_path / 'parts.csv'
            path.write_bytes(damaged(PARTS.encode(), rng))
        else:
            path = tmp_path / 'parts.json'
            path.write_bytes(json_text([{'video': 'a.mp4', 'start': 0, 'end': 2.5, 'labels': [0, 2]},
                                        {'video': 'b.mp4', 'start': 1, 'end': 3, 'labels': [1]}], rng))
        read_clip_annotations(str(path))
    check(read, cases)


@amounts(600)
def test_names_of_classes(tmp_path, cases):
    documents = (['rest', 'wave'], {'rest': 0, 'wave': 1}, {'0': 'rest', '1': 'wave'})

    def read(number):
        rng = rng_of('classes', number)
        (tmp_path / 'x').write_bytes(json_text(rng.choice(documents), rng) if number % 2
                                     else damaged(b'rest\nwave\njump\n', rng))
        read_class_names(tmp_path / 'x')
    check(read, cases)


@amounts(400)
def test_records_of_clips(tmp_path, cases):
    records = [make_example({'feature': np.full((2, 4, 4, 3), number, np.uint8).tobytes(),
                             'label': bytes([number == 0, number == 1])}) for number in range(2)]
    whole, path = framed(records, masked_crc32c), tmp_path / 'a.tfrecord'

    def read(number):
        rng = rng_of('clips', number)
        if number % 2:  # checksums that fit
            path.write_bytes(framed([damaged(records[0], rng), records[1]], masked_crc32c))
        else:
            path.write_bytes(damaged(whole, rng))
        (tmp_path / 'classes.txt').write_bytes(damaged(b'rest\nwave\n', rng) if number % 5 == 0 else b'rest\nwave\n')
        clips = ClipRecords(path, num_classes=2, clip_length=2, height=4, width=4, multi_label=number % 3 > 0)
        for index in range(len(clips)):
            clips.load(index)
    check(read, cases)


@amounts(400)
def test_records_of_features(tmp_path, cases):
    videos = {level: [Video(number).record(level) for number in (1, 3)] for level in ('frame', 'video', 'distill')}
    path = tmp_path / 'a.tfrecord'

    def read(number):
        rng, level = rng_of('features', number), ('frame', 'video', 'distill')[number % 3]
        records = videos[level]
        path.write_bytes(framed([damaged(records[0], rng), records[1]], masked_crc32c) if rng.random() < 0.8
                         else damaged(framed(records, masked_crc32c), rng))
        options = dict(SMALL, frame_level=level != 'video', teacher='records' if level == 'distill' else None)
        if level == 'video':
            options |= {'features': (('mean_rgb', 5), ('mean_audio', 3))}
        found = FeatureRecords(path, **options)
        for index in range(len(found)):
            found.load(index)
    check(read, cases)


@amounts(400)
def test_stored_flow(tmp_path, cases):
    data = io.BytesIO()
    np.savez_compressed(data, flow=np.full((3, 4, 5, 2), 130, np.uint8))
    whole, about = data.getvalue(), {'num_flows': 3, 'num_frames': 4, 'fps': 25.0, 'stride': 1, 'method': 'tvl1'}

    def read(number):
        rng = rng_of('flow', number)
        (tmp_path / 'flow.npz').write_bytes(damaged_archive(whole, rng) if number % 3 else whole)
        (tmp_path / 'flow.json').write_text(json.dumps(about if number % 3 else other_json(about, rng)))
        folder = FlowFolder(os.fspath(tmp_path), None, 'opencv')
        folder.read(list(range(len(folder))), lambda picture: picture)
    check(read, cases)


@amounts(800)
def test_stored_clips(tmp_path, cases):
    data = io.BytesIO()
    np.save(data, np.zeros((1, 2, 4, 4, 2), np.float32))
    whole = data.getvalue()

    def read(number):
        content = damaged(whole[:128], rng_of('clip', number)) + whole[128:]
        (tmp_path / 'x.npy').write_bytes(content)
        assert flow_clip(tmp_path / 'x.npy').size == 64
    check(read, cases)
