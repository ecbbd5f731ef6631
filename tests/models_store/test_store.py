"""The store keeps what was published, whole and unchanged, and says which of it a name means."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models_store.files import Files
from models_store.store import DamagedModelError, ModelStore, StoreError, UnknownModelError
from tests.models_store.bundles import bundle, manifest


@pytest.fixture
def store(tmp_path: Path) -> ModelStore:
    return ModelStore(str(tmp_path / "store"))


def blob(store_folder: Path, content: bytes) -> Path:
    sha256 = hashlib.sha256(content).hexdigest()
    return store_folder / "blobs" / "sha256" / sha256[:2] / sha256


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_what_was_published_is_read_back(tmp_path: Path, where: str) -> None:
    store = ModelStore(str(tmp_path / "store") if where == "folder" else f"memory://{tmp_path.name}")
    folder = bundle(tmp_path / "export", {"model.onnx": b"weights", "tokenizer.json": b"{}"})
    digest = store.publish(folder)
    store.name_version("digits", 1, digest)
    assert digest == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert store.read(digest, "model.onnx") == b"weights"
    assert store.manifest(digest).files.keys() == {"model.onnx", "tokenizer.json"}
    assert store.digests() == [digest]
    assert store.resolve("digits") == digest


def test_publishing_again_gives_the_same_digest_and_changes_nothing(
    store: ModelStore, tmp_path: Path
) -> None:
    folder = bundle(tmp_path / "export")
    digest = store.publish(folder)
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*") if path.is_file()}
    assert store.publish(folder) == digest
    assert written == {path: path.stat().st_mtime_ns for path in written}
    assert store.digests() == [digest]


def test_models_that_share_a_file_keep_it_once(store: ModelStore, tmp_path: Path) -> None:
    first = store.publish(bundle(tmp_path / "a", {"model.onnx": b"one", "tokenizer.json": b"words"}))
    second = store.publish(bundle(tmp_path / "b", {"model.onnx": b"two", "tokenizer.json": b"words"}))
    assert first != second
    assert len([path for path in (tmp_path / "store" / "blobs").rglob("*") if path.is_file()]) == 3


def test_files_that_the_manifest_does_not_name_are_left_out(store: ModelStore, tmp_path: Path) -> None:
    folder = bundle(tmp_path / "export")
    (folder / "notes.txt").write_text("private")
    digest = store.publish(folder)
    assert not blob(tmp_path / "store", b"private").exists()
    with pytest.raises(StoreError, match=r"no file 'notes\.txt'"):
        store.read(digest, "notes.txt")


def test_a_publisher_that_dies_before_the_manifest_leaves_no_model(store: ModelStore, tmp_path: Path) -> None:
    class PowerCut(BaseException):
        pass

    class DiesAtTheManifest(Files):
        def write(self, path: str, content: bytes) -> None:
            if path.startswith("manifests/"):
                raise PowerCut
            super().write(path, content)

    folder = bundle(tmp_path / "export")
    dying = ModelStore(str(tmp_path / "store"))
    dying.files = DiesAtTheManifest(str(tmp_path / "store"))
    with pytest.raises(PowerCut):
        dying.publish(folder)
    assert blob(tmp_path / "store", b"weights").exists()
    assert store.digests() == []
    assert store.resolve(store.publish(folder)) == store.digests()[0]


def test_a_changed_byte_is_refused_and_publishing_again_mends_it(store: ModelStore, tmp_path: Path) -> None:
    folder = bundle(tmp_path / "export")
    digest = store.publish(folder)
    blob(tmp_path / "store", b"weights").write_bytes(b"weighty")
    with pytest.raises(DamagedModelError, match=r"model\.onnx"):
        store.read(digest, "model.onnx")
    assert store.publish(folder) == digest
    assert store.read(digest, "model.onnx") == b"weights"


def test_a_file_that_is_gone_and_a_changed_manifest_are_damage(store: ModelStore, tmp_path: Path) -> None:
    digest = store.publish(bundle(tmp_path / "export"))
    blob(tmp_path / "store", b"weights").unlink()
    with pytest.raises(DamagedModelError, match="gone"):
        store.read(digest, "model.onnx")
    kept = tmp_path / "store" / "manifests" / f"{digest}.json"
    kept.write_bytes(kept.read_bytes().replace(b'"digits"', b'"digitz"'))
    with pytest.raises(DamagedModelError, match="manifest"):
        store.manifest(digest)


@pytest.mark.parametrize("spoil", ["absent", "changed"])
def test_a_bundle_that_differs_from_its_manifest_is_not_published(
    store: ModelStore, tmp_path: Path, spoil: str
) -> None:
    folder = bundle(tmp_path / "export", {"model.onnx": b"weights", "tokenizer.json": b"{}"})
    if spoil == "absent":
        (folder / "tokenizer.json").unlink()
    else:
        (folder / "tokenizer.json").write_bytes(b"{ }")
    with pytest.raises(StoreError, match=r"tokenizer\.json .*nothing is published"):
        store.publish(folder)
    assert store.digests() == []


@pytest.mark.parametrize("name", ["../evil", "a/b", ".hidden", "", "manifest.json", "a\\b", "C:x"])
def test_a_manifest_may_name_plain_files_only(store: ModelStore, tmp_path: Path, name: str) -> None:
    folder = bundle(tmp_path / "export")
    written = manifest({name: b""}).model_dump_json()
    (folder / "manifest.json").write_text(written)
    with pytest.raises(StoreError, match="plain file names"):
        store.publish(folder)


@pytest.mark.parametrize("name", ["../digits", "a/b", "", "Digits", ".x", "a@1", "x" * 64])
def test_names_that_could_leave_their_folder_are_refused(
    store: ModelStore, tmp_path: Path, name: str
) -> None:
    digest = store.publish(bundle(tmp_path / "export"))
    with pytest.raises(StoreError, match="cannot be a name"):
        store.name_version(name, 1, digest)
    with pytest.raises(StoreError, match="cannot be a name"):
        store.set_alias(name, digest)
    with pytest.raises(StoreError, match="cannot be a name"):
        store.publish(bundle(tmp_path / "other", name=name))
    with pytest.raises(UnknownModelError):
        store.resolve(f"{name}/x")


def test_names_and_aliases_are_given_to_models_that_are_here_only(store: ModelStore) -> None:
    for give in (
        lambda: store.name_version("digits", 1, "0" * 64),
        lambda: store.set_alias("prod", "0" * 64),
    ):
        with pytest.raises(UnknownModelError):
            give()


def test_a_reference_is_a_digest_then_an_alias_then_a_version_then_the_newest(
    store: ModelStore, tmp_path: Path
) -> None:
    digests = [store.publish(bundle(tmp_path / str(n), {"model.onnx": bytes([n])})) for n in range(11)]
    for version, digest in enumerate(digests[:10], start=1):
        store.name_version("digits", version, digest)
    store.set_alias("prod", digests[10])
    assert store.resolve(digests[3]) == digests[3]
    assert store.resolve("prod") == digests[10]
    assert store.resolve("digits@2") == digests[1]
    assert store.resolve("digits") == digests[9], "version 10 is newer than version 9"
    store.set_alias("digits", digests[0])
    assert store.resolve("digits") == digests[0]
    assert store.versions("digits") == dict(enumerate(digests[:10], start=1))
    assert store.aliases() == {"digits": digests[0], "prod": digests[10]}


@pytest.mark.parametrize(
    "reference",
    ["nothing", "digits@3", "digits@0", "digits@01", "digits@x", "prod@1", "f" * 64, "", "@", "../x"],
)
def test_an_unknown_reference_is_answered_with_what_there_is(
    store: ModelStore, tmp_path: Path, reference: str
) -> None:
    digest = store.publish(bundle(tmp_path / "export"))
    store.name_version("digits", 1, digest)
    store.set_alias("prod", digest)
    with pytest.raises(UnknownModelError, match=r"there is: prod, digits@1$"):
        store.resolve(reference)


def test_an_empty_store_says_so(store: ModelStore) -> None:
    with pytest.raises(UnknownModelError, match="no model has been published yet"):
        store.resolve("digits")
    assert store.digests() == []
    assert store.aliases() == {}


def test_a_spoilt_pointer_is_damage_and_leaves_other_names_alone(store: ModelStore, tmp_path: Path) -> None:
    digest = store.publish(bundle(tmp_path / "export"))
    store.set_alias("prod", digest)
    store.name_version("digits", 1, digest)
    (tmp_path / "store" / "aliases" / "prod").write_text("../../etc/passwd")
    with pytest.raises(DamagedModelError, match="prod"):
        store.resolve("prod")
    assert store.resolve("digits") == digest
    with pytest.raises(UnknownModelError, match="prod, digits@1"):
        store.resolve("nothing")


def test_publishers_of_the_same_content_do_not_disturb_each_other(tmp_path: Path) -> None:
    folder = bundle(tmp_path / "export", {"model.onnx": bytes(200_000), "tokenizer.json": b"{}"})
    start = threading.Barrier(8)

    def publish() -> str:
        store = ModelStore(str(tmp_path / "store"))
        start.wait()
        return store.publish(folder)

    with ThreadPoolExecutor(8) as pool:
        digests = {each.result() for each in [pool.submit(publish) for _ in range(8)]}
    (digest,) = digests
    assert ModelStore(str(tmp_path / "store")).read(digest, "model.onnx") == bytes(200_000)
    assert not list((tmp_path / "store").rglob("*.part"))


def test_whoever_resolves_an_alias_while_it_moves_gets_the_old_or_the_new_model(
    store: ModelStore, tmp_path: Path
) -> None:
    digests = [store.publish(bundle(tmp_path / str(n), {"model.onnx": bytes([n])})) for n in range(2)]
    store.set_alias("prod", digests[0])
    seen: set[str] = set()
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            seen.add(store.resolve("prod"))

    with ThreadPoolExecutor(2) as pool:
        lookers = [pool.submit(look) for _ in range(2)]
        for n in range(100):
            store.set_alias("prod", digests[n % 2])
        done.set()
        for each in lookers:
            each.result()
    assert seen <= set(digests)
