"""Which pictures are within a file? Members of a ZIP archive, and pages of a TIFF file.

A picture within a file has a path as well: ``scans.zip/monet/1.jpg`` and ``scan.tif#2``, the second
page. Nothing is unpacked onto the disk.
"""

import hashlib
import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import IO, NamedTuple

from skdcec.datasets.budget import HEADER_BYTES, UnusableImage

__all__ = [
    "Place",
    "content_digest",
    "inflated",
    "is_archive",
    "is_there",
    "members_of",
    "n_pages",
    "place_of",
    "stored_in",
    "version_of",
]

# What the members of an archive may be of, times its own size, before it is taken for a bomb:
# pictures are compressed already.
_MAX_RATIO = 100
_HARMLESS_BYTES = 2**30

MAX_PAGES = 10_000

_LOCAL_HEADER = struct.Struct("<4s5H3L2H")
_ENCRYPTED = 1

_PAGE = re.compile(r"(?P<file>.+)#(?P<page>[1-9][0-9]{0,4})", re.DOTALL)


class Place(NamedTuple):
    """Where a picture is.

    Attributes
    ----------
    file : str
        A file of the file system.
    member : str or None
        Its name within an archive.
    page : int
        Counted from 1.
    """

    file: str
    member: str | None = None
    page: int = 1


class Member(NamedTuple):
    """A file in an archive, as its directory describes it."""

    offset: int
    n_packed: int
    n_bytes: int
    crc: int
    method: int
    flags: int


def place_of(path: str | bytes | os.PathLike[str]) -> Place:
    """Return what a path leads to, which need not exist."""
    name = os.fsdecode(path)
    if os.path.lexists(name):
        return Place(name)
    found = _PAGE.fullmatch(name)
    if found and os.path.isfile(found["file"]):
        return Place(found["file"], page=int(found["page"]))
    outer, inner = os.path.split(name)
    while inner and outer and not os.path.isdir(outer):
        if os.path.isfile(outer):
            return Place(outer, name[len(outer) + 1 :].replace(os.sep, "/"))
        outer, inner = os.path.split(outer)
    return Place(name)


def is_there(path: str) -> bool:
    """Whether there is a file, or what it is within."""
    return os.path.exists(place_of(path).file)


def found_beside(out: Path, filenames: list[str], names: list[str]) -> list[str]:
    """Return where files are if they are gone, and their folder was moved together with `out`."""
    if not names or is_there(filenames[0]):
        return filenames
    parents = Path(filenames[0]).parents
    depth = len(Path(names[0]).parts) - 1
    if depth >= len(parents):
        return filenames
    root = out.absolute().parent / parents[depth].name
    files = [os.path.join(root, name) for name in names]
    return files if all(map(is_there, files)) else filenames


def version_of(path: str | bytes | os.PathLike[str]) -> tuple[int, int]:
    """Return the size of a picture's file, and what changes when its content does.

    Raises
    ------
    OSError
        If there is no such file.
    """
    place = place_of(path)
    status = os.stat(place.file)
    if place.member is None:
        return status.st_size, status.st_mtime_ns
    member = _member_of(place)
    return member.n_bytes, member.crc


def content_digest(path: str) -> str:
    """Return what tells the content of a picture's file from others, whatever it is called.

    Raises
    ------
    UnusableImage
        If an archive does not hold what it says.
    OSError
        If the file cannot be read.
    """
    place = place_of(path)
    if place.member is None:
        with open(place.file, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    else:
        digest = hashlib.sha256(inflated(place, stored_in(place))).hexdigest()
    return digest if place.page == 1 else f"{digest}#{place.page}"


# Archives


def is_archive(path: str) -> bool:
    """Whether a file is a ZIP archive, by its content."""
    with open(path, "rb") as file:
        return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def members_of(path: str) -> Iterator[tuple[str, str | None]]:
    """Yield the names of the files in an archive, each with the reason why it is not used, if any.

    Raises
    ------
    ValueError
        If it is damaged, or its members would be far larger than pictures can be.
    """
    members = _index_of(path)
    n_bytes, length = sum(member.n_bytes for member in members.values()), os.path.getsize(path)
    if n_bytes > max(_HARMLESS_BYTES, _MAX_RATIO * length):
        raise ValueError(
            f"{path} has {length / 1e6:.1f} MB, but what is in it claims {n_bytes / 1e9:.1f} GB: "
            "pictures do not shrink like that, so it is not opened."
        )
    for name, member in members.items():
        parts = name.split("/")
        if ".." in parts or parts[0].endswith(":") or not parts[0]:
            yield name, "its name leads out of the archive"
        elif member.flags & _ENCRYPTED:
            yield name, "encrypted"
        else:
            yield name, None


def _index_of(path: str) -> dict[str, Member]:
    status = os.stat(path)
    return _read_index(os.path.abspath(path), status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _read_index(path: str, size: int, mtime_ns: int) -> dict[str, Member]:
    try:
        with zipfile.ZipFile(path) as archive:
            return {
                # Some programs write backslashes.
                info.filename.replace("\\", "/"): Member(
                    info.header_offset,
                    info.compress_size,
                    info.file_size,
                    info.CRC,
                    info.compress_type,
                    info.flag_bits,
                )
                for info in archive.infolist()
                if not info.is_dir()
            }
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError) as error:
        raise ValueError(f"{path} cannot be read as a ZIP archive: {error}.") from error


def _member_of(place: Place) -> Member:
    try:
        return _index_of(place.file)[place.member or ""]
    except (KeyError, ValueError) as error:
        raise FileNotFoundError(2, "no such file in the archive", place.file) from error


def stored_in(place: Place) -> Member:
    """Return what the archive says of a member that can be read.

    Raises
    ------
    UnusableImage
        If it is too large, or packed in another way.
    OSError
        If there is none.
    """
    member = _member_of(place)
    if member.flags & _ENCRYPTED:
        raise UnusableImage("encrypted")
    if member.method not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnusableImage(f"packed by method {member.method}; only stored and deflated are read")
    if member.n_bytes > HEADER_BYTES:
        raise UnusableImage(
            f"has {member.n_bytes >> 20} MiB in the archive; at most {HEADER_BYTES >> 20} are read"
        )
    return member


def inflated(place: Place, member: Member, most: int | None = None) -> bytes:
    """Return the content of a member, or its first bytes.

    Raises
    ------
    UnusableImage
        If it is not what the archive says.
    """
    wanted = member.n_bytes if most is None else min(most, member.n_bytes)
    with open(place.file, "rb") as file:
        file.seek(member.offset)
        header = file.read(_LOCAL_HEADER.size)
        if len(header) < _LOCAL_HEADER.size or header[:4] != b"PK\x03\x04":
            raise UnusableImage("damaged: the archive has no file where it says")
        fields = _LOCAL_HEADER.unpack(header)
        file.seek(fields[-2] + fields[-1], os.SEEK_CUR)
        try:
            content = _unpacked(file, member, wanted)
        except zlib.error as error:
            raise UnusableImage(f"damaged in the archive: {error}") from error
    if len(content) < wanted or (most is None and zlib.crc32(content) != member.crc):
        raise UnusableImage("damaged in the archive: not what its directory says")
    return content


def _unpacked(file: IO[bytes], member: Member, wanted: int) -> bytes:
    """Return so many bytes and no more, whatever follows."""
    if member.method == zipfile.ZIP_STORED:
        return file.read(min(wanted, member.n_packed))
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    left, result = member.n_packed, io.BytesIO()
    while result.tell() < wanted and not unpack.eof:
        packed = unpack.unconsumed_tail
        if not packed:
            packed = file.read(min(2**16, left))
            left -= len(packed)
        if not packed:
            break
        result.write(unpack.decompress(packed, wanted - result.tell()))
    return result.getvalue()


# Pages


def n_pages(path: str) -> int:
    """Return how many pictures a TIFF file has that are no smaller copies or masks; else 1.

    Only the directories are read. Of a damaged file, the pages before the damage count.
    """
    try:
        with open(path, "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                return 1
            kinds = [*_kinds_of_pages(file)]
    except (OSError, struct.error):
        return 1
    # Pages are numbered as they stand in the file, so only what follows the pictures is left out.
    while len(kinds) > 1 and kinds[-1] & 5:
        kinds.pop()
    return max(1, len(kinds))


def _kinds_of_pages(file: IO[bytes]) -> Iterator[int]:
    """Yield of each directory what its page is: bit 0 for a smaller copy, bit 2 for a mask."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(file.read(4))
    if order is None:
        return
    number = struct.Struct(order + "L")
    seen: set[int] = set()
    offset = number.unpack(file.read(4))[0]
    while offset and offset not in seen and len(seen) < MAX_PAGES:
        seen.add(offset)
        file.seek(offset)
        try:
            n_tags = struct.unpack(order + "H", file.read(2))[0]
            tags = file.read(12 * n_tags)
            offset = number.unpack(file.read(4))[0]
        except struct.error:
            return
        kind = 0
        for start in range(0, len(tags), 12):
            if struct.unpack_from(order + "H", tags, start)[0] == 254:
                kind = number.unpack_from(tags, start + 8)[0]
        yield kind
