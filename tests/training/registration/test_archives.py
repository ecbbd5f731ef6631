"""Archives made to harm: each is one clear refusal, writes nothing outside of its place, and takes no more than its bounds."""

from __future__ import annotations

import gzip
import io
import os
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.training.registration import own
from tests.training.registration.fixtures import registered
from training.errors import DataError
from training.registration import archives
from training.registration.blobs import FREE_BYTES, MOST_RATIO, Blob, Blobs, Spool


@pytest.fixture
def unpacked(tmp_path: Path) -> Iterator[Callable[[Path], Blobs]]:
    with ExitStack() as spools:

        def of(path: Path) -> Blobs:
            blob = Blob.of(path)
            assert archives.is_archive(blob)
            spool = spools.enter_context(Spool(tmp_path / "spool", blob.size))
            return archives.members(blob, path.name, spool)

        yield of
    assert not list((tmp_path / "spool").glob("*"))


def tar_of(path: Path, *members: tarfile.TarInfo, mode: str = "w", format: int = tarfile.GNU_FORMAT) -> Path:
    with tarfile.open(path, mode, format=format) as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(b"x" * member.size) if member.isreg() else None)
    return path


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", size: int = 0) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, target, size
    return member


def zip_of(path: Path, members: Mapping[str, bytes], **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            for attribute, value in attributes.items():
                setattr(info, attribute, value)
            zipped.writestr(info, content)
    return path


@pytest.mark.parametrize("packing", ["zip", "tar", "tar.gz"])
def test_the_files_of_an_archive_are_read_in_the_order_of_their_names(
    tmp_path: Path, unpacked: Callable[[Path], Blobs], packing: str
) -> None:
    files = {
        "b.txt": b"second",
        "a/c.txt": b"",
        "a/b.txt": b"first" * 100_000,
        ".DS_Store": b"",
        "__MACOSX/b": b"",
    }
    for name, content in files.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(content)
    found = unpacked(own.packed(tmp_path / "in", tmp_path / f"all.{packing}"))
    assert list(found) == ["a/b.txt", "a/c.txt", "b.txt"]
    assert {name: blob.read() for name, blob in found.items()} == {name: files[name] for name in found}
    with found["a/b.txt"].open() as file:
        file.seek(-3, os.SEEK_END)
        assert (file.read(100), file.read(1)) == (b"rst", b"")


NAMES = ["../../x", "a/../../x", "/etc/x", "C:\\x", "..\\..\\x", "a" * 1001, "\udcff.png"]


@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_a_name_that_leads_out_is_refused(
    tmp_path: Path, unpacked: Callable[[Path], Blobs], name: str
) -> None:
    paths = [tar_of(tmp_path / "a.tar", entry(name)), tar_of(tmp_path / "a.tar.gz", entry(name), mode="w:gz")]
    if name.isprintable():
        paths.append(zip_of(tmp_path / "a.zip", {name: b"x"}))
    for path in paths:
        with pytest.raises(DataError, match="names must be UTF-8 and stay inside of the archive"):
            unpacked(path)


def test_a_name_with_nul_is_refused(tmp_path: Path, unpacked: Callable[[Path], Blobs]) -> None:
    path = zip_of(tmp_path / "a.zip", {"a.png?b": b"x"})
    path.write_bytes(path.read_bytes().replace(b"a.png?b", b"a.png\0b"))
    with pytest.raises(DataError, match="names must be UTF-8"):
        unpacked(path)


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"), (tarfile.LNKTYPE, "/etc/passwd"), (tarfile.CHRTYPE, ""), (tarfile.BLKTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)  # fmt: skip
def test_a_link_or_device_is_refused(
    tmp_path: Path, unpacked: Callable[[Path], Blobs], kind: bytes, target: str
) -> None:
    with pytest.raises(DataError, match=r"'x', a link or device; pack plain files only"):
        unpacked(tar_of(tmp_path / "a.tar", entry("ok"), entry("x", kind, target)))


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_link_in_a_zip_is_refused(tmp_path: Path, unpacked: Callable[[Path], Blobs], kind: int) -> None:
    path = zip_of(tmp_path / "a.zip", {"x": b"/etc/passwd"}, external_attr=(kind | 0o777) << 16)
    with pytest.raises(DataError, match="a link or device"):
        unpacked(path)


def test_a_file_with_holes_is_refused(tmp_path: Path, unpacked: Callable[[Path], Blobs]) -> None:
    """It may say that it has terabytes."""
    holes = entry("x", tarfile.GNUTYPE_SPARSE)
    with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.GNU_FORMAT) as tar:
        header = bytearray(holes.tobuf(tarfile.GNU_FORMAT))
        header[483:495] = b"77777777777\0"  # its size when it is whole
        header[148:156] = b"        "
        header[148:156] = b"%06o\0 " % sum(header)
        tar.fileobj.write(header)  # type: ignore[union-attr]
        tar.offset += len(header)
    with pytest.raises(DataError, match="a link or device"):
        unpacked(tmp_path / "a.tar")


def test_a_file_that_comes_twice_is_refused(tmp_path: Path, unpacked: Callable[[Path], Blobs]) -> None:
    with pytest.raises(DataError, match=r"a\.tar has '\./x' twice"):
        unpacked(tar_of(tmp_path / "a.tar", entry("x", size=3), entry("./x", size=2)))


@pytest.mark.parametrize("packing", ["zip", "tar.gz"])
def test_an_archive_that_swells_is_refused_before_it_has(
    tmp_path: Path, unpacked: Callable[[Path], Blobs], packing: str
) -> None:
    size = FREE_BYTES + 64 * 2**20
    (tmp_path / "in").mkdir()
    with (tmp_path / "in" / "zeros").open("wb") as file:
        file.truncate(size)
    path = tmp_path / f"bomb.{packing}"
    if packing == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
            zipped.write(tmp_path / "in" / "zeros", "zeros")
    else:
        own.packed(tmp_path / "in", path)
    assert path.stat().st_size * MOST_RATIO < 64 * 2**20
    with pytest.raises(DataError, match="unpacks to more than 200 times its size"):
        unpacked(path)


def test_a_zip_that_says_it_is_smaller_than_it_is_is_refused(
    tmp_path: Path, unpacked: Callable[[Path], Blobs]
) -> None:
    path = zip_of(tmp_path / "a.zip", {"x": b"0" * 100_000})
    content = path.read_bytes().replace((100_000).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(content)
    with pytest.raises(DataError, match="is cut off or damaged"):
        unpacked(path)


def test_an_encrypted_zip_is_refused(tmp_path: Path, unpacked: Callable[[Path], Blobs]) -> None:
    path = zip_of(tmp_path / "a.zip", {"x": b"secret"})
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="is encrypted; pack it without a password"):
        unpacked(path)


@pytest.mark.parametrize("packing", ["zip", "tar", "tar.gz"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_an_archive_that_is_cut_off_is_refused(
    tmp_path: Path, unpacked: Callable[[Path], Blobs], packing: str, share: float
) -> None:
    path = own.packed(own.image_folder(tmp_path / "in", range(12)), tmp_path / f"a.{packing}")
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content)) // 512 * 512 + 100])
    with pytest.raises(DataError, match=r"a\.[a-z.]+ is cut off or damaged"):
        unpacked(path)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_packed_in_another_way_is_refused(
    tmp_path: Path, unpacked: Callable[[Path], Blobs], method: int
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as zipped:
        zipped.writestr("x", "y")
    with pytest.raises(DataError, match=r"is no \.zip, \.tar or \.tar\.gz that is read here"):
        unpacked(tmp_path / "a.zip")


def test_more_files_than_anybody_needs_are_refused(
    tmp_path: Path, unpacked: Callable[[Path], Blobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    with pytest.raises(DataError, match="has more than 3 files"):
        unpacked(zip_of(tmp_path / "a.zip", dict.fromkeys("abcd", b"")))


def test_damaged_bytes_anywhere_are_read_or_refused(
    tmp_path: Path, unpacked: Callable[[Path], Blobs]
) -> None:
    """Never anything else: no other error reaches whoever registers."""
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.txt").write_bytes(b"some text" * 20)
    for packing in ("zip", "tar", "tar.gz"):
        whole = own.packed(source, tmp_path / f"whole.{packing}").read_bytes()
        for place in range(0, min(len(whole), 700), 3):
            content = bytearray(whole)
            content[place] ^= 0xFF
            path = tmp_path / f"a.{packing}"
            path.write_bytes(content)
            blob = Blob.of(path)
            if archives.is_archive(blob):
                try:
                    unpacked(path)
                except DataError:
                    continue


def test_what_was_unpacked_is_gone_when_the_process_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, signal\nfrom pathlib import Path\n"
        "from training.registration import archives\nfrom training.registration.blobs import Blob, Spool\n"
        f"path, place = Path({str(tmp_path / 'a.txt.gz')!r}), Path({str(tmp_path / 'spool')!r})\n"
        "archives.members(Blob.of(path), 'a', Spool(place, 1))\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    tar = tar_of(tmp_path / "a.tar", entry("x", size=10_000)).read_bytes()
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(tar))
    ended = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[3], check=False)
    assert ended.returncode == -9
    assert list((tmp_path / "spool").iterdir()) == []


def test_archives_in_archives_have_one_bound_for_all(tmp_path: Path) -> None:
    shards = tmp_path / "in"
    (tmp_path / "zeros").mkdir()
    with (tmp_path / "zeros" / "0.png").open("wb") as file:
        file.truncate(FREE_BYTES // 2)
    shards.mkdir()
    for number in range(4):
        own.packed(tmp_path / "zeros", shards / f"{number}.tar.gz")
    path = own.packed(shards, tmp_path / "all.zip")
    with pytest.raises(DataError, match="unpacks to more than 200 times its size"):
        registered("webdataset", path, tmp_path / "datasets")
