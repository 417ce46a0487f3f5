"""`bench padding`: what the padding of each mode adds to what crosses a client's link.

All nodes run in this process, over real QUIC on loopback, with three hops whatever the mode, so that padding is all
that differs. `web`: pages of small requests, one page a second. `download`: one large answer. `idle`: a connection
that is open and carries nothing. Bytes are those of the records of circuits on the link between client and guard, in
both directions; `over` is how much more that is than the bytes that the connections carried, `padding` how much more
than in the mode `speed`.
"""

from __future__ import annotations

import asyncio
import random
import secrets
import struct
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from bench.report import say
from core.errors import Reason
from core.flow import FlowRequest
from core.ids import PeerKey
from tunnel.engines import load_engine
from tunnel.link_stream import LinkStream
from tunnel.padding import SHAPES
from tunnel.path import ANY_EXIT, Hop
from tunnel.service import Tunnel, TunnelParts
from tunnel.wireguard.primitives import private_key, public_bytes

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncIterator, Collection, Iterator

    from core.flow import Buffer, Flow, IncomingDatagrams, IncomingFlow
    from tunnel.padding import Shape
    from tunnel.path import Path, Wish
    from tunnel.terminal import FlowAcceptor

TAKES_DEMO_OPTIONS: Final = False
_HOPS: Final = 3
_SEED: Final = 1
_LIMIT_S: Final = 60.0
_SIZE: Final = struct.Struct(">Q")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pages", type=int, default=5)
    parser.add_argument("--requests", type=int, default=20, help="requests of a page, all at once")
    parser.add_argument("--page-s", type=float, default=1.0, help="seconds from one page to the next")
    parser.add_argument("--size", type=int, default=20_000_000, help="bytes of the download")
    parser.add_argument("--idle-s", type=float, default=20.0, help="seconds of the idle connection")


class _Origin:
    """The exit's end of a flow: the first 8 bytes of a request name the size of its answer."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self._asked = b""

    def flow_data(self, data: Buffer) -> None:
        self._flow.consumed(len(data))
        self._asked += data

    def flow_eof(self) -> None:
        self._flow.write(bytes(_SIZE.unpack_from(self._asked)[0]))
        self._flow.finish()

    def flow_writable(self) -> None: ...

    def flow_closed(self, reason: Reason) -> None: ...


class _Acceptor:
    def flow_requested(self, flow: IncomingFlow, host: str, port: int) -> None:
        flow.accept()
        flow.attach(_Origin(flow))

    def datagrams_requested(self, flow: IncomingDatagrams) -> None:
        flow.close(Reason.NOT_ALLOWED)


class _Reader:
    """The client's end of a flow."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self.size = 0
        self.over: asyncio.Future[Reason] = asyncio.get_running_loop().create_future()

    def flow_data(self, data: Buffer) -> None:
        self.size += len(data)
        self._flow.consumed(len(data))

    def flow_eof(self) -> None: ...

    def flow_writable(self) -> None: ...

    def flow_closed(self, reason: Reason) -> None:
        self.over.set_result(reason)


async def _server(hops: dict[PeerKey, Hop], acceptor: FlowAcceptor | None) -> Tunnel:
    link_key, onion_key = (private_key(secrets.token_bytes(32)) for _ in range(2))
    parts = TunnelParts(
        address_ok=lambda host: True,
        link_key=link_key,
        onion_keys=[onion_key],
        descriptor=lambda: b"known to all here",
        locate=hops.get,
        relays=True,
        acceptor=acceptor,
    )
    node = Tunnel(load_engine("auto"), parts)
    port = await node.start(0, client=False)
    peer = PeerKey(secrets.token_bytes(32))
    hops[peer] = Hop(peer, public_bytes(link_key), public_bytes(onion_key), (("127.0.0.1", port),))
    return node


@asynccontextmanager
async def _network(shape: Shape) -> AsyncIterator[tuple[Tunnel, Tunnel]]:
    """A client whose circuit has carried a flow, and its guard."""
    hops: dict[PeerKey, Hop] = {}
    nodes = [await _server(hops, _Acceptor() if place == _HOPS - 1 else None) for place in range(_HOPS)]

    def choose(avoid: Collection[PeerKey], last: PeerKey | None, wish: Wish = ANY_EXIT) -> Path:
        return tuple(hops.values())

    client = Tunnel(load_engine("auto"), TunnelParts(address_ok=lambda host: True, choose=choose, shape=shape))
    try:
        await client.start(0, client=True)
        await _request(client, 500, 500)
        yield client, nodes[0]
    finally:
        for node in [client, *nodes]:
            await node.close()


@contextmanager
def _counted(client: Tunnel, guard: Tunnel) -> Iterator[dict[str, int]]:
    """Count the bytes of records between client and guard, out and back."""
    counts, send = {"out": 0, "back": 0}, LinkStream.send
    client_links, guard_links = set(client.links), {link for link in guard.links if not link.dialled}

    def counting(stream: LinkStream, record: bytearray, *, last: bool = False) -> bool:
        if stream.link in client_links:
            counts["out"] += len(record)
        elif stream.link in guard_links:
            counts["back"] += len(record)
        return send(stream, record, last=last)

    LinkStream.send = counting  # type: ignore[assignment, method-assign]
    try:
        yield counts
    finally:
        LinkStream.send = send  # type: ignore[method-assign]


async def _request(client: Tunnel, asked: int, answer: int) -> int:
    """One connection that sends `asked` bytes and gets `answer`; returns their sum."""
    flow = await client.pool.dial(FlowRequest("origin.example", 80))
    reader = _Reader(flow)
    flow.attach(reader)
    flow.write(_SIZE.pack(answer).ljust(asked, b"\0"))
    flow.finish()
    async with asyncio.timeout(_LIMIT_S):
        reason = await reader.over
    if reason is not Reason.DONE or reader.size != answer:
        raise SystemExit("an answer was cut short")
    return asked + answer


async def _web(client: Tunnel, options: argparse.Namespace) -> int:
    draws, carried = random.Random(_SEED), 0
    for _ in range(options.pages):
        ends = time.monotonic() + options.page_s
        sizes = [(draws.randint(350, 900), int(draws.lognormvariate(8.7, 1.0))) for _ in range(options.requests)]
        carried += sum(await asyncio.gather(*(_request(client, *size) for size in sizes)))
        await asyncio.sleep(max(0.0, ends - time.monotonic()))
    return carried


async def _download(client: Tunnel, options: argparse.Namespace) -> int:
    return await _request(client, 500, options.size)


async def _idle(client: Tunnel, guard: Tunnel, seconds: float) -> dict[str, float]:
    """Bytes per second each way while one connection is open and carries nothing."""
    flow = await client.pool.dial(FlowRequest("origin.example", 80))
    with _counted(client, guard) as counts:
        await asyncio.sleep(seconds)
    flow.reset(Reason.LOCAL)
    return {f"{way}_per_s": round(count / seconds, 1) for way, count in counts.items()}


async def _mode(mode: str, options: argparse.Namespace) -> dict[str, Any]:
    figures: dict[str, Any] = {}
    async with _network(SHAPES[mode]) as (client, guard):
        for name, load in (("web", _web), ("download", _download)):
            say(f"padding: {mode}, {name} …")
            with _counted(client, guard) as counts:
                started = time.monotonic()
                carried = await load(client, options)
                took = time.monotonic() - started
            figures[name] = {"carried": carried, **counts, "took_s": round(took, 2)}
        say(f"padding: {mode}, idle …")
        figures["idle"] = await _idle(client, guard, options.idle_s)
    return figures


def compared(measured: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Add to each mode's loads how much more crossed the link than was carried, and than in `speed`, in percent."""
    for figures in measured.values():
        for name, load in figures.items():
            if "carried" not in load:
                continue
            crossed = load["out"] + load["back"]
            bare = measured["speed"][name]
            load["over_percent"] = round(100 * (crossed / load["carried"] - 1), 1)
            load["padding_percent"] = round(100 * (crossed / (bare["out"] + bare["back"]) - 1), 1)
    return measured


def run(options: argparse.Namespace, demo_options: list[str]) -> dict[str, Any]:
    """Measure, and return the figures."""
    return cast("dict[str, Any]", compared({mode: asyncio.run(_mode(mode, options)) for mode in SHAPES}))
