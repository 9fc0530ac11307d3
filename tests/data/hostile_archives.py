"""Writes hostile archives: one function a trick, each into the given folder. FAULTS B5.

Every archive begins with a harmless member, so that a refusal is seen to come in the middle of the work. What a trick
tries to write carries the name CANARY.
"""

from __future__ import annotations

import io
import lzma
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

CANARY = "canary.txt"
TEXT = b"canary\n"

ZIP_NAMES = {
    "parent": f"../{CANARY}",
    "deep_parent": f"pictures/../../../{CANARY}",
    "hidden_parent": f"pictures/./.././../{CANARY}",
    "absolute": f"/tmp/{CANARY}",
    "double_slash": f"//host/share/{CANARY}",
    "drive": f"C:/{CANARY}",
    "drive_relative": f"C:{CANARY}",
    "backslash": f"..\\{CANARY}",
    "unc": f"\\\\host\\share\\{CANARY}",
    "stream": f"pictures/a.png:{CANARY}",
    "dots_and_space": f".. /{CANARY}",
    "three_dots": f".../{CANARY}",
    "control": f"pictures/\x1b[2J{CANARY}",
    "newline": f"pictures/a\n{CANARY}",
    "right_to_left": f"pictures/\u202e{CANARY}",
}
"""Names that no member may have, for .zip and .tar alike."""


def _zip(path: Path, members: list[tuple[str | zipfile.ZipInfo, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("good/first.txt", b"fine")
        for name, content in members:
            out.writestr(name, content)
    return path


def _tar(path: Path, members: list[tuple[tarfile.TarInfo | str, bytes]], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as out:  # type: ignore[call-overload]
        for item, content in [("good/first.txt", b"fine"), *members]:
            info = tarfile.TarInfo(item) if isinstance(item, str) else item
            if info.isreg():
                info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return path


def _entry(name: str, kind: bytes, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


def _mode(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, mode << 16
    return info


def zip_symlink(to: Path) -> Path:
    return _zip(to / "a.zip", [(_mode("link", 0o120777), b"../.."), (f"link/{CANARY}", TEXT)])


def zip_device(to: Path) -> Path:
    return _zip(to / "a.zip", [(_mode("device", 0o020666), b"")])


def zip_encrypted(to: Path) -> Path:
    path = _zip(to / "a.zip", [("secret.txt", TEXT)])
    data = bytearray(path.read_bytes())
    for at in (data.rfind(b"PK\x01\x02") + 8, data.rfind(b"PK\x03\x04") + 6):
        data[at] |= 1
    path.write_bytes(bytes(data))
    return path


def zip_bomb(to: Path) -> Path:
    return _zip(to / "a.zip", [(CANARY, bytes(40 << 20))])


def zip_bomb_of_many(to: Path) -> Path:
    return _zip(to / "a.zip", [(f"part{i}", bytes(4 << 20)) for i in range(10)])


def zip_overlapping(to: Path) -> Path:
    """Many members that share the same compressed bytes."""
    content = lzma.compress(b"")  # anything that does not shrink
    info = zipfile.ZipInfo("m0")
    info.compress_type = zipfile.ZIP_DEFLATED
    path = to / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr(info, bytes(4 << 20) + content)
        for i in range(1, 300):
            copy = zipfile.ZipInfo(f"m{i}")
            for key in ("compress_type", "CRC", "compress_size", "file_size", "header_offset", "flag_bits"):
                setattr(copy, key, getattr(info, key))
            out.filelist.append(copy)
    return path


def zip_many_declared(to: Path) -> Path:
    """A directory of 10⁶ members at its end, and a header for one."""
    path = _zip(to / "a.zip", [])
    data = path.read_bytes()
    start = data.index(b"PK\x01\x02")
    entry = data[start : data.index(b"PK\x05\x06")]
    count = 10**6
    at, size = start + len(entry) * count, len(entry) * count
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, size, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    path.write_bytes(data[:start] + entry * count + wide + locator + end)
    return path


def zip_duplicate(to: Path) -> Path:
    with warnings.catch_warnings():  # zipfile notices, and writes it all the same
        warnings.simplefilter("ignore")
        return _zip(to / "a.zip", [("good/first.txt", TEXT)])


def zip_case(to: Path) -> Path:
    return _zip(to / "a.zip", [("GOOD/second.txt", TEXT)])


def zip_unicode(to: Path) -> Path:
    return _zip(to / "a.zip", [("caf\u00e9.txt", b"1"), ("cafe\u0301.txt", TEXT)])


def zip_file_is_folder(to: Path) -> Path:
    return _zip(to / "a.zip", [("x", b"1"), (f"x/{CANARY}", TEXT)])


def zip_folder_is_file(to: Path) -> Path:
    return _zip(to / "a.zip", [("good", TEXT)])


def zip_truncated(to: Path) -> Path:
    path = _zip(to / "a.zip", [("b", bytes(range(256)) * 99)])
    path.write_bytes(path.read_bytes()[:-200])
    return path


def zip_wrong_sum(to: Path) -> Path:
    path = to / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as out:
        out.writestr("good/first.txt", b"content")
    path.write_bytes(path.read_bytes().replace(b"content", b"CONTENT"))
    return path


def tar_symlink(to: Path) -> Path:
    return _tar(to / "a.tar", [(_entry("link", tarfile.SYMTYPE, "../.."), b"")])


def tar_symlink_inside(to: Path) -> Path:
    return _tar(to / "a.tar", [(_entry("link", tarfile.SYMTYPE, "good/first.txt"), b"")])


def tar_link_then_write(to: Path) -> Path:
    return _tar(to / "a.tar.gz", [(_entry("d", tarfile.SYMTYPE, ".."), b""), (f"d/{CANARY}", TEXT)], "w:gz")


def tar_hardlink(to: Path) -> Path:
    return _tar(to / "a.tar.bz2", [(_entry("h", tarfile.LNKTYPE, "/etc/passwd"), b"")], "w:bz2")


def tar_hardlink_then_write(to: Path) -> Path:
    return _tar(to / "a.tar", [(_entry("h", tarfile.LNKTYPE, f"../{CANARY}"), b""), ("h", TEXT)])


def tar_fifo(to: Path) -> Path:
    return _tar(to / "a.tar.xz", [(_entry("f", tarfile.FIFOTYPE), b"")], "w:xz")


def tar_character_device(to: Path) -> Path:
    return _tar(to / "a.tar", [(_entry("d", tarfile.CHRTYPE), b"")])


def tar_block_device(to: Path) -> Path:
    return _tar(to / "a.tar", [(_entry("d", tarfile.BLKTYPE), b"")])


def tar_bomb(to: Path) -> Path:
    return _tar(to / "a.tar.xz", [(CANARY, bytes(40 << 20))], "w:xz")


def tar_many(to: Path) -> Path:
    """Thousands of empty files in a few bytes each."""
    return _tar(to / "a.tar.gz", [(f"{i}", b"") for i in range(13_000)], "w:gz")


def tar_lying_size(to: Path) -> Path:
    """A header that promises 10 TB."""
    info = tarfile.TarInfo(CANARY)
    info.size = 10 << 40
    path = to / "a.tar"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    return path


def tar_sparse(to: Path) -> Path:
    info = tarfile.TarInfo(CANARY)
    info.type = tarfile.GNUTYPE_SPARSE
    return _tar(to / "a.tar", [(info, b"")])


def tar_duplicate(to: Path) -> Path:
    return _tar(to / "a.tar", [("./good//first.txt", TEXT)])


def tar_case(to: Path) -> Path:
    return _tar(to / "a.tar", [("Good/First.txt", TEXT)])


def tar_truncated(to: Path) -> Path:
    path = _tar(to / "a.tar.gz", [("b", bytes(range(256)) * 999)], "w:gz")
    path.write_bytes(path.read_bytes()[:-300])
    return path


def tar_cut_in_a_member(to: Path) -> Path:
    path = _tar(to / "a.tar", [("b", bytes(5000))])
    path.write_bytes(path.read_bytes()[:3000])
    return path


def no_archive(to: Path) -> Path:
    path = to / "a.zip"
    path.write_text("<html>404</html>")
    return path


def empty_file(to: Path) -> Path:
    path = to / "a.tar"
    path.touch()
    return path


def _named() -> Iterator[tuple[str, Callable[[Path], Path]]]:
    for trick, name in ZIP_NAMES.items():
        yield f"zip_{trick}", lambda to, name=name: _zip(to / "a.zip", [(name, TEXT)])  # type: ignore[misc]
        yield f"tar_{trick}", lambda to, name=name: _tar(to / "a.tar", [(name, TEXT)])  # type: ignore[misc]


HOSTILE: dict[str, Callable[[Path], Path]] = {
    **{name: make for name, make in globals().copy().items() if name.startswith(("zip_", "tar_"))},
    "no_archive": no_archive,
    "empty_file": empty_file,
    **dict(_named()),
}
"""Trick -> what writes it into a folder."""
