"""Programs of classic BPF for seccomp: rules, and how they are put together (zygote and companion).

The shape: one look at the architecture, a binary search for the number, then the rule of the call. Where a
rule takes no argument, the kernel remembers the answer and does not run the program again (Linux 5.11).
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterable, Mapping

from isolate_magic.child import syscalls

Block = tuple[tuple[int, int, int, int], ...]  # instructions (code, jt, jf, k), of which the last returns

# linux/bpf_common.h: load a word, mask it, jump, return.
_LOAD, _AND, _GOTO, _IF_EQUAL, _IF_AT_LEAST, _IF_BITS, _RETURN = 0x20, 0x54, 0x05, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
_X32 = 0x40000000  # the bit of the x32 calls, which come under the architecture x86-64
_SPAN = 255  # the farthest a conditional jump goes

KILL_PROCESS, ERRNO, USER_NOTIF, ALLOW = 0x80000000, 0x00050000, 0x7FC00000, 0x7FFF0000  # linux/seccomp.h


def answer(action: int) -> Block:
    """Return the rule that has one answer."""
    return ((_RETURN, 0, 0, action),)


def fail(code: int) -> Block:
    """Return the rule that answers with an error number."""
    return answer(ERRNO | code)


def one_of(argument: int, values: Iterable[int], then: Block, otherwise: Block, mask: int = 0) -> Block:
    """Return the rule that looks whether an argument, masked, is one of the values."""
    values = list(values)
    load: Block = ((_LOAD, 0, 0, _ARGUMENTS + 8 * argument),) + (((_AND, 0, 0, mask),) if mask else ())
    last = len(values) - 1
    tests = ((_IF_EQUAL, last - at, 0 if at < last else len(then), value) for at, value in enumerate(values))
    return (*load, *tests, *then, *otherwise)


def any_bit(argument: int, bits: int, then: Block, otherwise: Block) -> Block:
    """Return the rule that looks whether an argument has one of the bits."""
    load = (_LOAD, 0, 0, _ARGUMENTS + 8 * argument)
    return (load, (_IF_BITS, 0, len(then), bits), *then, *otherwise)


def asking(rule: Block) -> Block:
    """Return the rule with a question to the listener in place of each "allow"."""
    allow = (_RETURN, 0, 0, ALLOW)
    return tuple((_RETURN, 0, 0, USER_NOTIF) if line == allow else line for line in rule)


def assemble(rules: Mapping[str, Block], default: Block, foreign: Block, machine: str | None) -> bytes:
    """Return the program.

    Args:
        rules: by the name of the call.
        default: for calls that have none.
        foreign: for calls of another architecture.
        machine: `x86_64` or `aarch64`, this machine if None.
    """
    machine = machine or syscalls.machine()
    spans = _spans(rules, default, machine)
    code = (
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_IF_EQUAL, len(foreign), 0, _AUDIT_ARCH[machine]),
        *foreign,
        (_LOAD, 0, 0, _NUMBER),
        *_search(spans),
    )
    return b"".join(struct.pack("@HBBI", *line) for line in code)  # struct sock_filter


def _spans(rules: Mapping[str, Block], default: Block, machine: str) -> list[tuple[int, Block]]:
    """Return from which number on which rule holds, ascending, beginning with 0."""
    numbered = {
        number: rule for name, rule in rules.items() if (number := syscalls.number(name, machine)) is not None
    }
    starts = {
        0: default,
        **{number + 1: default for number in numbered},
        _X32: fail(errno.ENOSYS),
        **numbered,
    }
    spans: list[tuple[int, Block]] = []
    for number, rule in sorted(starts.items()):
        if not spans or spans[-1][1] != rule:
            spans.append((number, rule))
    return spans


def _search(spans: list[tuple[int, Block]]) -> Block:
    """Return the binary search for the span that holds the number, followed by its rule."""
    if len(spans) == 1:
        return spans[0][1]
    middle = len(spans) // 2
    low, high, pivot = _search(spans[:middle]), _search(spans[middle:]), spans[middle][0]
    if len(low) <= _SPAN:
        return ((_IF_AT_LEAST, len(low), 0, pivot), *low, *high)
    return ((_IF_AT_LEAST, 0, 1, pivot), (_GOTO, 0, 0, len(low)), *low, *high)
