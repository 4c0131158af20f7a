"""The reader of protocol buffers, against messages that are written here by hand."""
import pytest

from gluon_action.wire import fields, make_field, make_varint, masked_crc32c, message, messages, varint

HAND_MADE = bytes([0x08, 0x96, 0x01, 0x12, 0x02, 0x68, 0x69, 0x1d, 1, 2, 3, 4, 0x21, *range(8), 0x12, 0])


def test_every_kind_of_field_is_read():
    read = [(number, content if isinstance(content, int) else bytes(content)) for number, content in fields(HAND_MADE)]
    assert read == [(1, 150), (2, b'hi'), (3, bytes([1, 2, 3, 4])), (4, bytes(range(8))), (2, b'')]
    assert [bytes(content) for content in messages(HAND_MADE, 2)] == [b'hi', b'']


@pytest.mark.parametrize('number, size', [(0, 1), (127, 1), (128, 2), (2 ** 32, 5), (2 ** 64 - 1, 10), (-1, 10)])
def test_a_number_is_read_as_it_was_written(number, size):
    written = make_varint(number)
    assert len(written) == size and varint(b'x' + written + b'y', 1) == (number % 2 ** 64, 1 + size)


@pytest.mark.parametrize('end', range(1, len(HAND_MADE)))
def test_a_message_that_is_cut_is_refused_or_ends_between_two_fields(end):
    whole = {0, 3, 7, 12, 21, 23}
    if end in whole:
        assert list(fields(HAND_MADE[:end]))
        return
    with pytest.raises(ValueError, match='cut short'):
        list(fields(HAND_MADE[:end]))


@pytest.mark.parametrize('data, told', [(b'\x0b', 'kind 3'), (b'\x0e\x01', 'kind 6'),
                                        (b'\x08' + b'\xff' * 11, '64 bits'),
                                        (b'\x08' + b'\xff' * 9 + b'\x02', '64 bits')])
def test_what_is_no_message_is_refused(data, told):
    with pytest.raises(ValueError, match=told):
        list(fields(data))


def test_a_number_where_a_message_should_be_is_refused_and_one_that_is_absent_is_empty():
    with pytest.raises(ValueError, match='a number is where a message should be'):
        message(5)
    assert bytes(message(None)) == b'' and bytes(message(memoryview(b'a'))) == b'a'
    assert list(fields(make_field(7, b'abc')))[0][0] == 7


def test_the_checksum_is_tensorflows():
    crc = 0x8a9136aa  # of 32 zeros, RFC 3720, B.4
    masked = ((crc >> 15 | crc << 17) + 0xa282ead8) % 2 ** 32
    assert masked_crc32c(bytes(32)) == masked_crc32c(memoryview(bytes(32))) == masked
