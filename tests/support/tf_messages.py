"""TensorFlow's messages by protobuf's own library."""
import functools

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def tf_message(name):
    """A class of tensorflow/core/example/{example,feature}.proto, or ``UnpackedFloats`` and ``UnpackedInts``."""
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f'tf.{name}'))


@functools.cache
def _pool():
    file = descriptor_pb2.FileDescriptorProto(name='example.proto', package='tf', syntax='proto3')
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for number, (title, kind, repeated, packed) in enumerate(fields, 1):
            field = made.field.add(name=title, number=number,
                                   label=kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL)
            if isinstance(kind, str):
                field.type, field.type_name = kinds.TYPE_MESSAGE, f'.tf.{kind}'
            else:
                field.type = kind
            if packed is not None:
                field.options.packed = packed
        return made

    def message_of_a_map(name, title, kind):
        entry_name = title.title().replace('_', '') + 'Entry'
        made = message(name, (title, f'{name}.{entry_name}', True, None))
        entry = made.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        entry.field.add(name='key', number=1, type=kinds.TYPE_STRING, label=kinds.LABEL_OPTIONAL)
        entry.field.add(name='value', number=2, type=kinds.TYPE_MESSAGE, type_name=f'.tf.{kind}',
                        label=kinds.LABEL_OPTIONAL)
    message('BytesList', ('value', kinds.TYPE_BYTES, True, None))
    message('FloatList', ('value', kinds.TYPE_FLOAT, True, True))
    message('Int64List', ('value', kinds.TYPE_INT64, True, True))
    message('UnpackedFloats', ('value', kinds.TYPE_FLOAT, True, False))
    message('UnpackedInts', ('value', kinds.TYPE_INT64, True, False))
    feature = message('Feature', ('bytes_list', 'BytesList', False, None), ('float_list', 'FloatList', False, None),
                      ('int64_list', 'Int64List', False, None))
    feature.oneof_decl.add(name='kind')
    for field in feature.field:
        field.oneof_index = 0
    message_of_a_map('Features', 'feature', 'Feature')
    message('Example', ('features', 'Features', False, None))
    message('FeatureList', ('feature', 'Feature', True, None))
    message_of_a_map('FeatureLists', 'feature_list', 'FeatureList')
    message('SequenceExample', ('context', 'Features', False, None), ('feature_lists', 'FeatureLists', False, None))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool
