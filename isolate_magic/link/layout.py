"""What both lay out alike beside the channel: marks in the pipes, the board, a signal (both sides)."""

from __future__ import annotations

import mmap
import signal
import struct

TOKEN = 20
"""Length of the token that opens a mark, in bytes; the host draws one for each companion."""

MARK = TOKEN + 9
"""Length of a mark: the token, `s` (a switch of streams) or `e` (an event), 8 hexadecimal digits."""

BOARD = struct.Struct("<QQ")
"""What the host writes on the board: the number of a request, and how often it has sent SIGINT."""

BOARD_SIZE = mmap.PAGESIZE
"""The board is the first page of the memfd of the last words; the Python stacks stand behind it."""

NATIVE = "Native stack; handlers of signals return to"
"""Begins what stands behind the Python stack at a fatal signal: an address, then one frame a line."""

DUMP_SIGNAL = signal.SIGRTMAX - 2
"""Makes a companion write its Python stacks without dying; sent before one that hangs is killed."""

PART = 64
"""The parts of a checkpoint are filled up to a multiple of so many bytes, so that arrays stay aligned."""
