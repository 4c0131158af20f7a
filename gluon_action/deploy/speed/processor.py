"""The name of the processor, and whether it has instructions for int8."""
from __future__ import annotations

import platform

#: Instructions that add up products of 8 bits in 32 bits, as Linux names them.
_PRODUCTS = ('avx512_vnni', 'avx_vnni', 'amx_int8', 'asimddp', 'i8mm')


def processor_name() -> str:
    """The name of the processor."""
    return _entries('model name') or platform.processor() or platform.machine()


def int8_instructions() -> list[str] | None:
    """Return the int8 dot product instructions that the processor has; None where the system does not say."""
    flags = (_entries('flags') or _entries('Features')).split()
    return [name for name in _PRODUCTS if name in flags] if flags else None


def has_int8_products() -> bool | None:
    """Whether the processor has any of these instructions; None where the system does not say."""
    found = int8_instructions()
    return None if found is None else bool(found)


def _entries(key: str) -> str:
    try:
        with open('/proc/cpuinfo') as file:
            return next((line.split(':', 1)[1].strip() for line in file if line.split(':')[0].strip() == key), '')
    except OSError:
        return ''
