"""A disk that loses its power: SQLite writes to it through a VFS of its own (APSW), and it knows what was synced.

What was not may be there after a cut or not, in any order, sector by sector, and torn; so may files that were made or
removed since their directory was last synced. `Connection` is as much of `sqlite3.Connection` as the store uses.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, Final, assert_never

import apsw
from msgspec import Struct

SECTORS: Final = (512, 4096)
_SYNCS_DIRECTORY: Final = apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_MAIN_JOURNAL
"""What SQLite's own VFS syncs the directory for, when such a file is new and synced for the first time."""

_numbers = count()


class Write(Struct, frozen=True):
    """Bytes that were written to a file. Files are numbers: a name may come again."""

    file: int
    offset: int
    data: bytes


class Resize(Struct, frozen=True):
    """A file was cut off."""

    file: int
    size: int


class Sync(Struct, frozen=True):
    """All that was done to a file is on the disk; `directory`: so is which files there are."""

    file: int
    directory: bool


class Make(Struct, frozen=True):
    """There is a new file."""

    name: str
    file: int


class Remove(Struct, frozen=True):
    """A file is gone; `directory` as above."""

    name: str
    directory: bool


Deed = Write | Resize | Sync | Make | Remove


class Disk(apsw.VFS):
    """What SQLite sees: every write at once. `deeds` is all that it did, in order."""

    def __init__(self) -> None:
        self.name = f"disk-{next(_numbers)}"
        self.deeds: list[Deed] = []
        self._files: dict[str, tuple[int, bytearray]] = {}
        super().__init__(self.name, "")

    def xFullPathname(self, name: str) -> str:  # noqa: N802 - SQLite's name, like those below
        """The name of a file in the only directory that there is."""
        return Path(name).name

    def xAccess(self, name: str, _: int) -> bool:  # noqa: N802
        """Whether there is such a file."""
        return name in self._files

    def xDelete(self, name: str, syncs: bool) -> None:  # noqa: N802
        """Removes a file."""
        if self._files.pop(name, None) is None:
            raise apsw.IOError("no such file")
        self.deeds.append(Remove(name, syncs))

    def xOpen(self, name: Any, flags: list[int]) -> Any:  # noqa: N802
        """Opens a file, which may be new."""
        filename = name.filename() if isinstance(name, apsw.URIFilename) else name
        if filename is None:
            # A temporary one: no business of the disk's.
            return _File([], 0, bytearray(), new=False)
        new = filename not in self._files
        if new:
            number = next(_numbers)
            self._files[filename] = number, bytearray()
            self.deeds.append(Make(filename, number))
        flags[1] = flags[0]
        return _File(self.deeds, *self._files[filename], new=new and bool(flags[0] & _SYNCS_DIRECTORY))


class _File:
    """An open file."""

    def __init__(self, deeds: list[Deed], number: int, data: bytearray, *, new: bool) -> None:
        self._deeds = deeds
        self._number = number
        self._data = data
        self._new = new

    def xRead(self, amount: int, offset: int) -> bytes:  # noqa: N802
        return bytes(self._data[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        _write(self._data, offset, data)
        self._deeds.append(Write(self._number, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        del self._data[size:]
        self._deeds.append(Resize(self._number, size))

    def xSync(self, _: int) -> None:  # noqa: N802
        self._deeds.append(Sync(self._number, self._new))
        self._new = False

    def xFileSize(self) -> int:  # noqa: N802
        return len(self._data)

    def xLock(self, _: int) -> None:  # noqa: N802
        """Nobody else is there."""

    def xUnlock(self, _: int) -> None:  # noqa: N802
        """As above."""

    def xCheckReservedLock(self) -> bool:  # noqa: N802
        return False

    def xFileControl(self, _: int, __: int) -> bool:  # noqa: N802
        return False

    def xSectorSize(self) -> int:  # noqa: N802
        return 4096

    def xDeviceCharacteristics(self) -> int:  # noqa: N802
        # As SQLite's own VFS has it: a write changes no byte beside it.
        return apsw.SQLITE_IOCAP_POWERSAFE_OVERWRITE

    def xClose(self) -> None:  # noqa: N802
        """Closing syncs nothing."""


def _write(data: bytearray, offset: int, new: bytes) -> None:
    if len(data) < offset:
        data.extend(bytes(offset - len(data)))
    data[offset : offset + len(new)] = new


class Platter:
    """What of a disk's deeds would outlast a cut, one deed after the other."""

    def __init__(self) -> None:
        self._synced: dict[int, bytes] = {}
        self._since: dict[int, list[Write | Resize]] = {}
        self._entries: dict[str, int] = {}
        self._changes: list[Make | Remove] = []

    def take(self, deed: Deed) -> None:
        """The next deed."""
        match deed:
            case Write() | Resize():
                self._since.setdefault(deed.file, []).append(deed)
            case Sync(number, directory):
                data = bytearray(self._synced.get(number, b""))
                for change in self._since.pop(number, []):
                    _apply(data, change)
                self._synced[number] = bytes(data)
                if directory:
                    self._sync_directory()
            case Make():
                self._changes.append(deed)
            case Remove(_, directory):
                self._changes.append(deed)
                if directory:
                    self._sync_directory()
            case _:
                assert_never(deed)

    def _sync_directory(self) -> None:
        for change in self._changes:
            _enter(self._entries, change)
        self._changes.clear()

    def cut(self, random: Random) -> dict[str, bytes]:
        """The files as they may be after the power has gone now."""
        entries = dict(self._entries)
        # A file system keeps the order of what it does to a directory, and loses the end of it.
        for change in self._changes[: random.randint(0, len(self._changes))]:
            _enter(entries, change)
        kept = random.choice((0.0, 0.5, 0.9, 1.0))
        return {name: self._left(number, random, kept) for name, number in entries.items()}

    def _left(self, number: int, random: Random, kept: float) -> bytes:
        data = bytearray(self._synced.get(number, b""))
        sector = random.choice(SECTORS)
        for change in self._since.get(number, []):
            if isinstance(change, Resize):
                if random.random() < kept:
                    _apply(data, change)
                continue
            for piece in _sectors(change, sector):
                if random.random() < kept:
                    # Now and then a sector is torn as well.
                    torn = random.randrange(len(piece.data)) if random.random() < 0.02 else len(piece.data)
                    _apply(data, Write(number, piece.offset, piece.data[:torn]))
        return bytes(data)


def _sectors(write: Write, sector: int) -> Iterator[Write]:
    start, end = write.offset, write.offset + len(write.data)
    while start < end:
        stop = min(end, (start // sector + 1) * sector)
        yield Write(write.file, start, write.data[start - write.offset : stop - write.offset])
        start = stop


def _apply(data: bytearray, change: Write | Resize) -> None:
    if isinstance(change, Write):
        _write(data, change.offset, change.data)
    else:
        del data[change.size :]


def _enter(entries: dict[str, int], change: Make | Remove) -> None:
    if isinstance(change, Make):
        entries[change.name] = change.file
    else:
        entries.pop(change.name, None)


# What the store makes of sqlite3, on such a disk.


class _Rows:
    """A cursor."""

    def __init__(self, cursor: apsw.Cursor, changes: int) -> None:
        self._cursor = cursor
        self.rowcount = changes

    def fetchone(self) -> Any:
        with _errors():
            return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        with _errors():
            return self._cursor.fetchall()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.fetchall())


class Connection:
    """The database of a disk. `synchronous` is what it is told wherever the store says FULL."""

    def __init__(self, disk: Disk, name: str, synchronous: str) -> None:
        self._synchronous = synchronous
        self._db = apsw.Connection(name, vfs=disk.name)
        # The index of the WAL is in memory then: APSW's VFS cannot share it. What is written, and when it is synced,
        # is the same.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def execute(self, sql: str, values: Sequence[Any] = ()) -> _Rows:
        if sql == "PRAGMA synchronous = FULL":
            sql = f"PRAGMA synchronous = {self._synchronous}"
        with _errors():
            return _Rows(self._db.execute(sql, tuple(values)), self._db.changes())

    def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        with _errors():
            self._db.executemany(sql, [tuple(row) for row in rows])

    def close(self) -> None:
        self._db.close()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        raise sqlite3.OperationalError(str(error)) from error
