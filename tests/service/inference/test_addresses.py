"""Pictures at addresses: only from listed hosts, only from where these may be, and no more than a picture may be."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from models_store.manifest import ImageInput, Manifest, TextInput
from service.errors import FuseboxError
from service.inference import addresses
from service.inference.addresses import Addresses
from service.inference.prepare import Given, Unfetched
from service.settings import Settings
from tests.models_store.bundles import manifest
from tests.service.pictures import png

LISTED = "images.test"
HERE, OUTSIDE = "127.0.0.1", "93.184.216.34"
LIMIT = 4096
Answer = TypeVar("Answer")
Writes = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Elsewhere:
    """A server whose answers are as bad as its paths say. `asked` has the head of each request that came through."""

    port: int = 0
    asked: list[str] = field(default_factory=list)
    connected: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connected += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            await ANSWERS[head.split(" ")[1].partition("?")[0]](writer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


def said(head: str, body: bytes = b"") -> Writes:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {head}\r\n\r\n".encode() + body)

    return write


def endless(head: str, piece: bytes, every_s: float) -> Writes:
    async def write(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 {head}\r\n".encode())
        while not writer.is_closing():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(every_s)

    return write


WHOLE = f"200 OK\r\nContent-Length: {len(png())}"
ANSWERS: dict[str, Writes] = {
    "/good.png": said(WHOLE, png()),
    "/": said(WHOLE, png()),
    "/chunked.png": said("200 OK\r\nTransfer-Encoding: chunked", b"%x\r\n%b\r\n0\r\n\r\n" % (len(png()), png())),
    "/missing.png": said("404 Not Found\r\nContent-Length: 0"),
    "/partial.png": said("206 Partial Content\r\nContent-Length: 1", b"x"),
    "/gzip.png": said("200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4", b"\x1f\x8b\x08\0"),
    "/announced.png": said(f"200 OK\r\nContent-Length: {10 * 2**30}", b"x" * 2 * LIMIT),
    "/cut.png": said("200 OK\r\nContent-Length: 100", b"x"),
    "/nonsense.png": said("nonsense"),
    "/endless.png": endless("200 OK\r\n", b"x" * 1024, 0),
    "/drip.png": endless("200 OK\r\n", b"x", 0.02),
    "/headers.png": endless("200 OK", b"X-Header: " + b"x" * 1000 + b"\r\n", 0),
    "/slow-headers.png": endless("200 OK", b"X-Header: x\r\n", 0.02),
    **{
        f"/redirect/{code}": said(f"{code} Elsewhere\r\nLocation: http://169.254.169.254/\r\nContent-Length: 0")
        for code in (301, 302, 303, 307, 308)
    },
}  # fmt: skip


@dataclass
class Names:
    """A resolver that remembers what it was asked."""

    places: Sequence[str] = (HERE,)
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        return self.places


def settings_for(*hosts: str, networks: Sequence[str] = (), **changes: Any) -> Settings:
    return Settings(
        image_url_hosts=hosts, image_url_networks=tuple(networks), max_image_bytes=LIMIT, image_url_s=1, **changes
    )  # fmt: skip


@asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Elsewhere]:
    elsewhere = Elsewhere()
    server = await asyncio.start_server(elsewhere.serve, HERE, 0, ssl=tls)
    elsewhere.port = server.sockets[0].getsockname()[1]
    async with server:
        yield elsewhere


def fetched(path: str, names: Names | None = None, networks: Sequence[str] = ("127.0.0.0/8",)) -> bytes:
    """From the server, by a name that is listed with its port."""

    async def fetch() -> bytes:
        async with serving() as elsewhere:
            at = f"http://{LISTED}:{elsewhere.port}"
            known = Addresses(settings_for(at, networks=networks), names or Names())
            return await known.fetch(at + path)

    return asyncio.run(fetch())


def refusal(call: Callable[[], object]) -> FuseboxError:
    with pytest.raises(FuseboxError) as told:
        call()
    return told.value


# ------------------------------------------------------------------------------------------ what comes through


@pytest.mark.parametrize("path", ["/good.png", "/chunked.png", "", "?size=8", "/good.png?a=b%20c"])
def test_a_picture_of_a_listed_host_is_fetched(path: str) -> None:
    names = Names()
    assert fetched(path, names) == png()
    assert names.asked == [LISTED], "resolved once"


def test_a_name_with_several_places_is_tried_at_each() -> None:
    assert fetched("/good.png", Names(["127.0.0.2", HERE])) == png()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the listed host, with its key."""
    folder = tmp_path_factory.mktemp("certificate")
    made = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", f"/CN={LISTED}", "-addext", f"subjectAltName=DNS:{LISTED}", "-keyout", "key.pem", "-out", "whole.pem"]  # fmt: skip
    subprocess.run(made, cwd=folder, check=True, capture_output=True, timeout=60)
    with (folder / "whole.pem").open("a") as whole:
        whole.write((folder / "key.pem").read_text())
    return folder / "whole.pem"


@pytest.mark.parametrize(("name", "comes"), [(LISTED, True), ("other.test", False)])
def test_over_tls_the_host_proves_that_it_is_the_one_of_the_name(
    certificate: Path, name: str, comes: bool
) -> None:
    """The connection goes to the place that was judged, and the name is asked for all the same."""
    ours, theirs = (
        ssl.create_default_context(cafile=certificate),
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH),
    )
    theirs.load_cert_chain(certificate)

    async def fetch() -> bytes:
        async with serving(theirs) as elsewhere:
            settings = settings_for(f"{name}:{elsewhere.port}", networks=["127.0.0.0/8"])
            file = await Addresses(settings, Names(), ours).fetch(f"https://{name}:{elsewhere.port}/good.png")
            assert f"\r\nHost: {name}:{elsewhere.port}\r\n" in elsewhere.asked[0]
            return file

    if comes:
        assert asyncio.run(fetch()) == png()
    else:
        assert refusal(lambda: asyncio.run(fetch())).code == "image_not_fetched"


# --------------------------------------------------------------------------------------- what is never asked for

OTHERS = [
    "http://127.0.0.1/", "http://localhost", "http://0.0.0.0", "http://[::1]", "http://[::]",
    "http://2130706433/", "http://0x7f000001/", "http://0177.0.0.1/", "http://127.1/", "http://①②⑦.⓪.⓪.①/", "http://127.0.0.1./",
    "http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[fe80::1%25eth0]/", "http://[fe80::1%eth0]/",
    "http://169.254.169.254/latest/meta-data/", "http://metadata.google.internal/",
    "https:///a.png", "https://", "http:///path", "https://images.test\\@127.0.0.1/", "https://images.test@127.0.0.1/",
    "https://user:password@images.test/a.png", "https://127.0.0.1#@images.test/", "https://images.test#a",
    "https://images.test%00.evil.test/", "https://images.test%2eevil.test", "https://images.test\t/a.png", "https://images.test/\n",
    "https://images.test /a.png", " https://images.test/a.png", "https://images.test/a b.png", "https://images.test/\u0130.png",
    "https://images.test.evil.test/", "https://evilimages.test/", "https://images.test./", "https://ımages.test/", "https://\u212a.test/",
    "https://images.test:22/", "https://images.test:6379/", "https://images.test:99999999/", "https://images.test:+443/",
    "http://images.test/a.png", "HTTP://IMAGES.TEST/", "https://images.test:/a.png", "https://images.test/" + "a" * 3000,
    "ftp://images.test/a.png", "file:///etc/passwd", "gopher://images.test/", "//images.test/a.png", "unix:/run/a", "jar:https://images.test!/",
]  # fmt: skip


@pytest.mark.parametrize("address", OTHERS, ids=lambda address: ascii(address[:40]))
def test_what_is_not_listed_to_the_letter_is_not_even_looked_up(address: str) -> None:
    names = Names([OUTSIDE])
    told = refusal(lambda: asyncio.run(Addresses(settings_for(LISTED, "k.test"), names).fetch(address)))
    assert (told.code, names.asked) == ("address_not_allowed", [])


def test_the_case_of_a_host_and_its_own_port_change_nothing() -> None:
    for address in ("HTTPS://Images.TEST/a.png", f"https://{LISTED}:443/a.png"):
        names = Names(["10.0.0.1"])
        refusal(lambda: asyncio.run(Addresses(settings_for(LISTED), names).fetch(address)))  # noqa: B023
        assert names.asked == [LISTED]


PLACES = [
    ["127.0.0.1"], ["0.0.0.0"], ["10.0.0.1"], ["172.16.0.1"], ["192.168.1.1"], ["169.254.169.254"], ["100.64.0.1"],
    ["100.100.100.200"], ["192.0.0.8"], ["192.88.99.1"], ["198.18.0.1"], ["224.0.0.1"], ["240.0.0.1"], ["255.255.255.255"],
    ["168.63.129.16"], ["::1"], ["::"], ["::ffff:127.0.0.1"], ["::ffff:93.184.216.34"], ["::7f00:1"], ["64:ff9b::7f00:1"],
    ["64:ff9b:1::1"], ["2002:7f00:1::"], ["2001::1"], ["2001:db8::1"], ["fe80::1"], ["fe80::1%lo"], ["fec0::1"], ["fd00:ec2::254"],
    ["ff02::1"], ["100::1"], ["5f00::1"],
    [OUTSIDE, "127.0.0.1"], ["2606:2800:220:1::1", "10.0.0.1"], [OUTSIDE, "fd00::1"], [],
]  # fmt: skip


@pytest.mark.parametrize("places", PLACES, ids=str)
def test_a_name_of_which_any_place_is_not_public_is_connected_to_nowhere(places: list[str]) -> None:
    async def fetch() -> FuseboxError:
        async with serving() as elsewhere:
            at = f"http://{LISTED}:{elsewhere.port}"
            with pytest.raises(FuseboxError) as told:
                await Addresses(settings_for(at), Names(places)).fetch(f"{at}/good.png")
            assert elsewhere.connected == 0
            return told.value

    told = asyncio.run(fetch())
    unlisted = refusal(lambda: asyncio.run(Addresses(settings_for(LISTED), Names()).fetch("http://x.test/")))
    assert (told.code, told.detail) == (unlisted.code, unlisted.detail), (
        "nobody learns what a name stands for"
    )


@pytest.mark.parametrize("place", [OUTSIDE, "8.8.8.8", "2606:2800:220:1::1", "2a00:1450:4001::1"])
def test_public_places_are_good(place: str) -> None:
    assert addresses.may_be_at(place)


def test_a_name_that_stands_for_something_else_the_second_time_is_not_asked_twice() -> None:
    """Whoever looks twice connects to what nobody has judged."""

    class Rebinding(Names):
        async def __call__(self, host: str, port: int) -> Sequence[str]:
            await super().__call__(host, port)
            return [HERE] if len(self.asked) == 1 else ["169.254.169.254"]

    names = Rebinding()
    assert fetched("/good.png", names) == png()
    assert len(names.asked) == 1


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setitem(os.environ, name, "http://127.0.0.1:9")
    assert fetched("/good.png") == png()


# ------------------------------------------------------------------------------------------- what is not taken


@pytest.mark.parametrize(
    ("path", "code", "words"),
    [
        ("/missing.png", "image_not_fetched", "status 404"), ("/partial.png", "image_not_fetched", "status 206"),
        ("/gzip.png", "image_not_fetched", "compressed"), ("/nonsense.png", "image_not_fetched", "HTTP"),
        ("/cut.png", "image_not_fetched", "HTTP"), ("/headers.png", "image_not_fetched", "HTTP"),
        ("/announced.png", "image_too_large", "4096 bytes"), ("/endless.png", "image_too_large", "4096 bytes"),
        ("/drip.png", "image_not_fetched", "longer than 1 s"), ("/slow-headers.png", "image_not_fetched", "longer than 1 s"),
        *((f"/redirect/{code}", "image_not_fetched", "leads to another address") for code in (301, 302, 303, 307, 308)),
    ],
)  # fmt: skip
def test_what_a_host_may_answer_with_and_is_not_taken(path: str, code: str, words: str) -> None:
    told = refusal(lambda: fetched(path))
    assert told.code == code
    assert words in told.detail
    assert "127.0.0.1" not in told.detail


def test_a_host_that_nobody_serves_cannot_be_reached() -> None:
    settings = settings_for(f"http://{LISTED}:1", networks=["127.0.0.0/8"])
    told = refusal(lambda: asyncio.run(Addresses(settings, Names()).fetch(f"http://{LISTED}:1/")))
    assert "cannot be reached" in told.detail


# ------------------------------------------------------------------------------------------- inputs of a request


def pictures_and_texts() -> Manifest:
    image = ImageInput(name="image", channels=1, height=8, width=8, mean=(0.5,), std=(0.5,))
    text = TextInput(name="text", max_tokens=8, pad_id=0)
    return manifest({}, inputs=[each.model_dump() for each in (image, text)])


def test_each_address_is_fetched_once_and_stands_for_its_file_in_images_only() -> None:
    async def fetch() -> None:
        async with serving() as elsewhere:
            at = f"http://{LISTED}:{elsewhere.port}"
            known = Addresses(settings_for(at, networks=["127.0.0.0/8"]), Names())
            sent = [
                Given({"image": f"{at}/good.png", "text": f"{at}/good.png"}, "/inputs/0"),
                Given({"image": f"{at}/good.png"}, "/inputs/1"),
                Given({"image": f"{at}/missing.png"}, "/inputs/2"),
                Given({"text": "a handwritten three"}, "/inputs/3"),
            ]
            got = await known.fetched(pictures_and_texts(), sent)
            assert got[0].values == {"image": png(), "text": f"{at}/good.png"}
            assert got[1].values == {"image": png()}
            assert isinstance(got[2].values["image"], Unfetched)
            assert got[3] is sent[3]
            assert len(elsewhere.asked) == 2

    asyncio.run(fetch())


def test_a_request_has_so_many_addresses_and_bytes_and_no_more() -> None:
    async def fetch() -> None:
        async with serving() as elsewhere:
            at = f"http://{LISTED}:{elsewhere.port}"
            few = settings_for(at, networks=["127.0.0.0/8"], max_body_bytes=len(png()) * 3)
            sent = [Given({"image": f"{at}/good.png?{each}"}, f"/inputs/{each}") for each in range(40)]
            got = await Addresses(few, Names()).fetched(pictures_and_texts(), sent)
            assert len(elsewhere.asked) == addresses.MOST_ADDRESSES == 32
            values = [each.values["image"] for each in got]
            assert sum(value == png() for value in values) <= 3
            codes = [value.error.code for value in values if isinstance(value, Unfetched)]
            assert codes[-8:] == ["too_many_addresses"] * 8
            assert set(codes[:-8]) == {"image_too_large"}

    asyncio.run(fetch())


def test_without_a_list_inputs_are_left_as_they_are() -> None:
    names = Names()
    sent = [Given({"image": "https://images.test/a.png"}, "/inputs/0")]
    got = asyncio.run(Addresses(Settings(), names).fetched(pictures_and_texts(), sent))
    assert (got, names.asked) == (sent, [])
