"""Pictures at addresses: fetched before their input is prepared, from hosts that are listed and from nowhere else.

Without a list nothing is looked up and nothing is fetched. A host's name is resolved once, every place it stands for is
judged, and one of these very places is connected to, so that a name cannot mean another place by then. Redirections are not
followed, the environment's proxies not used, and what is compressed on the way not unpacked. What comes is as if the
client had sent it: the same limits, and the same decoder.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property

import httpcore
import httpx

from models_store.manifest import Manifest
from service.errors import FuseboxError, InvalidError, TooLargeError
from service.inference.prepare import Given, Unfetched
from service.origins import PORTS, Origin, listed, may_be_at, taken_apart
from service.settings import Settings
from service.version import VERSION

MOST_ADDRESSES = 32
"""Different ones in one request."""
AT_ONCE = 8
"""Fetched by one process."""
MOST_PLACES = 4
"""Of one name that are tried."""
CONNECT_S = 3.0
SCHEMES = ("http://", "https://")
HEADERS: dict[bytes | str, bytes | str] = {
    "Accept": "image/*",
    "Accept-Encoding": "identity",
    "User-Agent": f"fusebox/{VERSION}",
}

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""Host and port → places, as IP addresses. Raises OSError or UnicodeError."""


async def resolved(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(place[0]) for *_, place in found))


class Addresses:
    """For use in one event loop."""

    def __init__(
        self, settings: Settings, resolve: Resolve = resolved, tls: ssl.SSLContext | None = None
    ) -> None:
        self._settings = settings
        self._resolve = resolve
        self._given_tls = tls
        self._origins = {listed(entry) for entry in settings.image_url_hosts}
        self._networks = [ipaddress.ip_network(each) for each in settings.image_url_networks]
        self._turns = asyncio.Semaphore(AT_ONCE)

    async def fetched(
        self, manifest: Manifest, inputs: Sequence[Given], assert_worth: Callable[[], None] = lambda: None
    ) -> Sequence[Given]:
        """The inputs with the files in the place of their addresses, or with what is wrong with these.

        Where nothing may be fetched they are as they were, and preparing them says so. `assert_worth` is called before
        anything is fetched, and what it raises is raised.
        """
        if not self._origins:
            return inputs
        images = {each.name for each in manifest.inputs if each.kind == "image"}
        wanted = list(dict.fromkeys(address for given in inputs for address in addresses(given, images)))
        if not wanted:
            return inputs
        assert_worth()
        budget = _Budget(self._settings.max_body_bytes)
        outcomes = await asyncio.gather(*(self._outcome(each, budget) for each in wanted[:MOST_ADDRESSES]))
        found = dict(zip(wanted, outcomes, strict=False))
        return [_with_files(given, images, found) for given in inputs]

    async def _outcome(self, address: str, budget: _Budget) -> bytes | Unfetched:
        try:
            return await self.fetch(address, budget)
        except FuseboxError as error:
            return Unfetched(error)

    async def fetch(self, address: str, budget: _Budget | None = None) -> bytes:
        """The file at an address. Raises InvalidError or TooLargeError.

        An address that is not listed and a host that is where it may not be are told the same.
        """
        apart = taken_apart(address)
        if apart is None or apart[0] not in self._origins:
            raise _not_allowed()
        async with self._turns:
            try:
                async with asyncio.timeout(self._settings.image_url_s):
                    places = await self._places(apart[0])
                    return await self._read(*apart, places, budget or _Budget(self._settings.max_body_bytes))
            except TimeoutError:
                raise _failed(f"it took longer than {self._settings.image_url_s:g} s") from None
            except (httpcore.NetworkError, httpcore.TimeoutException, OSError, UnicodeError):
                raise _failed("its host cannot be reached, or cannot prove who it is") from None
            except httpcore.ProtocolError:
                raise _failed("its host does not speak HTTP as it should") from None

    async def _places(self, origin: Origin) -> Sequence[str]:
        places = await self._resolve(origin.host, origin.port)
        if not places or not all(may_be_at(place, self._networks) for place in places):
            raise _not_allowed()
        return places[:MOST_PLACES]

    async def _read(self, origin: Origin, target: str, places: Sequence[str], budget: _Budget) -> bytes:
        url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=target)
        data = bytearray()
        tls = self._tls if origin.scheme == "https" else None
        async with (
            httpcore.AsyncConnectionPool(ssl_context=tls, network_backend=_Pinned(places)) as pool,
            pool.stream("GET", url, headers={"Host": _host(origin), **HEADERS}) as response,
        ):
            _assert_plain(response)
            async for chunk in response.aiter_stream():
                data += chunk
                budget.left -= len(chunk)
                if len(data) > self._settings.max_image_bytes or budget.left < 0:
                    raise _too_large(self._settings)
        return bytes(data)

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        return self._given_tls or httpx.create_ssl_context()


class _Budget:
    """Bytes that the addresses of one request may have together: as many as a request itself."""

    def __init__(self, left: int) -> None:
        self.left = left


class _Pinned(httpcore.AsyncNetworkBackend):
    """Connects to the places that were judged, whatever host it is asked for."""

    def __init__(self, places: Sequence[str]) -> None:
        self._places = places
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        *others, last = self._places
        for place in others:
            try:
                return await self._network.connect_tcp(place, port, CONNECT_S, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._network.connect_tcp(last, port, CONNECT_S, local_address, socket_options)


def addresses(given: Given, images: set[str]) -> list[str]:
    """What an input has at the place of its images that is an address."""
    return [value for name, value in given.values.items() if name in images and is_address(value)]  # type: ignore[misc]


def is_address(value: object) -> bool:
    return isinstance(value, str) and value[:8].lower().startswith(SCHEMES)


def _with_files(given: Given, images: set[str], found: dict[str, bytes | Unfetched]) -> Given:
    many = Unfetched(
        InvalidError(
            "too_many_addresses",
            f"a request may have {MOST_ADDRESSES} different addresses; send the rest in further requests",
        )
    )
    files = {
        name: found.get(value, many)
        for name, value in given.values.items()
        if name in images and isinstance(value, str) and is_address(value)
    }
    return replace(given, values={**given.values, **files}) if files else given


def _host(origin: Origin) -> str:
    name = f"[{origin.host}]" if ":" in origin.host else origin.host
    return name if origin.port == PORTS[origin.scheme] else f"{name}:{origin.port}"


def _assert_plain(response: httpcore.Response) -> None:
    """Raises InvalidError for an answer that is not simply the file."""
    if 300 <= response.status < 400:
        raise _failed("it leads to another address, and such are not followed")
    if response.status != 200:
        raise _failed(f"its host answered with status {response.status}")
    packed = [value for name, value in response.headers if name.lower() == b"content-encoding"]
    if any(value.strip().lower() != b"identity" for value in packed):
        raise _failed("its host compressed it though it was asked not to")


def _not_allowed() -> InvalidError:
    return InvalidError(
        "address_not_allowed",
        "nothing is fetched from this address; send the image itself or POST it to /v1/assets, or let whoever runs this "
        "service allow its host",
    )


def _failed(why: str) -> InvalidError:
    return InvalidError("image_not_fetched", f"the image at this address could not be had: {why}")


def _too_large(settings: Settings) -> TooLargeError:
    return TooLargeError(
        "image_too_large",
        f"the image has more than {settings.max_image_bytes} bytes, or all of the request's more than "
        f"{settings.max_body_bytes}; make it smaller",
    )
