"""BitTorrent's Mainline DHT, through libtorrent: addresses under a key, and signed items under a peer's name.

Everything that comes from it is a hint by strangers: an address may be nobody's, an item only shows that somebody with
this key signed it once. Nothing here knows what the keys and values mean (`peers.networks`).

The library is not built for every Python. Without it `Dht` raises `ConfigError`, and a node goes on with gossip alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from peers.addresses import Address

KEY_BYTES: Final = 20
MAX_VALUE_BYTES: Final = 996
"""A value of 1,000 bytes in bencoding; a longer one is refused by nodes without a word. Source: BEP 44."""

ITEM_LIFE_S: Final = 7200
UPLOAD_PER_S: Final = 50_000
"""Bytes in a second, beyond which questions stay unanswered; a small DHT's nodes get every question of each other."""
PACKETS_PER_S: Final = 20
"""A node that sends more for ten seconds is not heard for five minutes. Others allow five: ask them for less."""

SEARCH_S: Final = 20.0
"""Answers about addresses are taken for so long; the DHT does not say when it has asked everybody."""
GET_S: Final = 8.0
GET_QUIET_S: Final = 0.5
"""After the first answer about an item, a newer one is waited for so long."""
PUT_S: Final = 30.0

MAX_SEARCHES: Final = 64
MAX_ITEMS: Final = 64
MAX_VALUES: Final = 8
MAX_NODES: Final = 200
MAX_ALERTS: Final = 2000


@dataclass(frozen=True, slots=True)
class DhtOptions:
    """How this node takes part.

    Args:
        listen: `HOST:PORT` of its UDP socket, port 0 for any; several separated by commas.
        routers: nodes to begin with, host and port.
        read_only: ask, and answer nobody: for nodes that cannot be reached. Source: BEP 43.
    """

    listen: str = "0.0.0.0:0,[::]:0"
    routers: tuple[Address, ...] = ()
    read_only: bool = False


class Dht:
    """One node of the DHT.

    Args:
        options: how to take part.

    Attributes:
        entered: set when the first nodes have answered, or there are none.

    Raises:
        ConfigError: libtorrent is not installed.
    """

    def __init__(self, options: DhtOptions) -> None:
        self._lt = lt = _libtorrent()
        self._loop = asyncio.get_running_loop()
        self.entered = asyncio.Event()
        self._searches: dict[bytes, Callable[[list[Address]], None]] = {}
        self._items: dict[tuple[bytes, bytes], _Answers] = {}
        self._puts: dict[tuple[bytes, bytes], asyncio.Future[int]] = {}
        self._handlers: dict[type, Callable[[Any], None]] = {
            lt.dht_get_peers_reply_alert: self._addresses_came,
            lt.dht_mutable_item_alert: self._item_came,
            lt.dht_put_alert: self._put_done,
            lt.dht_bootstrap_alert: lambda _: self.entered.set(),
        }
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._read_only = options.read_only
        self._session = lt.session(_settings(lt, options))
        self._loop.add_reader(self._reader, self._alerts_came)
        self._session.set_alert_fd(self._writer.fileno())

    @property
    def port(self) -> int:
        """The UDP port that it listens on, once it does; else 0."""
        return int(self._session.listen_port())

    async def close(self) -> None:
        """Leave the DHT, and end the library's threads. A second call does nothing."""
        if self._session is None:
            return
        self._loop.remove_reader(self._reader)
        self._searches.clear()
        for put in self._puts.values():
            put.cancel()
        for answers in self._items.values():
            answers.done.cancel()
        # Whoever drops the last reference waits until the session's threads have ended.
        gone, self._session = [self._session], None
        await asyncio.to_thread(gone.clear)
        self._reader.close()
        self._writer.close()

    # -- nodes

    def serve(self, serving: bool) -> None:
        """Answer others' questions from now on, or only ask. Source: BEP 43."""
        if serving is self._read_only:
            self._read_only = not serving
            self._session.apply_settings({"dht_read_only": self._read_only})

    def add_nodes(self, nodes: Iterable[Address]) -> None:
        """Ask these first: remembered nodes."""
        for node in nodes:
            self._session.add_dht_node(node)

    def nodes(self) -> list[Address]:
        """The nodes of its routing table, 200 at most."""
        flags = self._lt.save_state_flags_t.save_dht_state
        state = self._lt.bdecode(bytes(self._lt.write_session_params_buf(self._session.session_state(), flags)))
        table = state.get(b"dht state", {})
        packed = [(socket.AF_INET, data) for data in table.get(b"nodes", [])]
        packed += [(socket.AF_INET6, data) for data in table.get(b"nodes6", [])]
        return [(socket.inet_ntop(kind, data[:-2]), int.from_bytes(data[-2:])) for kind, data in packed][:MAX_NODES]

    # -- addresses under a key

    def announce(self, key: bytes, port: int) -> None:
        """Say that this host has something at a port; others see the address that packets come from.

        Args:
            key: 20 bytes.
            port: 1 to 65535.
        """
        self._session.dht_announce(self._lt.sha1_hash(key), port, 0)

    async def search(self, key: bytes, found: Callable[[list[Address]], None], limit_s: float = SEARCH_S) -> None:
        """Ask for addresses under a key. Cancel it when enough are known. If the key is asked for already, ask once
        more, and leave the answers to whom they are told.

        Args:
            key: 20 bytes.
            found: told the addresses as they come, repeated ones too.
            limit_s: how long answers are listened for.
        """
        if key in self._searches:
            self._session.dht_get_peers(self._lt.sha1_hash(key))
            return
        if len(self._searches) >= MAX_SEARCHES:
            return
        self._searches[key] = found
        try:
            self._session.dht_get_peers(self._lt.sha1_hash(key))
            await asyncio.sleep(limit_s)
        finally:
            self._searches.pop(key, None)

    # -- items under a name

    async def put(self, seed: bytes, public: bytes, salt: bytes, value: bytes) -> int:
        """Store an item under an Ed25519 key.

        Args:
            seed: the private key, 32 bytes.
            public: the public key, 32 bytes.
            salt: at most 64 bytes.
            value: at most 996 bytes.

        Returns:
            How many nodes took it; 0 after 30 s without a word.

        Raises:
            ValueError: the value is too long, or this item is being stored.
        """
        if len(value) > MAX_VALUE_BYTES or (public, salt) in self._puts:
            raise ValueError("a value of at most 996 bytes, once at a time")
        future = self._puts[public, salt] = self._loop.create_future()
        try:
            self._session.dht_put_mutable_item(_expanded(seed), public, value, salt)
            async with asyncio.timeout(PUT_S):
                taken: int = await future
        except TimeoutError:
            return 0
        finally:
            self._puts.pop((public, salt), None)
        return taken

    async def get(self, public: bytes, salt: bytes) -> list[bytes]:
        """Ask for an item.

        Args:
            public: the Ed25519 key it is stored under, 32 bytes.
            salt: at most 64 bytes.

        Returns:
            The values that were told, all signed by the key, the newest first; none after 8 s without an answer.
        """
        if (public, salt) in self._items or len(self._items) >= MAX_ITEMS:
            return []
        answers = self._items[public, salt] = _Answers(self._loop.create_future())
        try:
            self._session.dht_get_mutable_item(public, salt)
            async with asyncio.timeout(GET_S):
                await answers.done
                await asyncio.sleep(GET_QUIET_S)
        except TimeoutError:
            pass
        finally:
            del self._items[public, salt]
        return [value for _, value in sorted(answers.values.items(), reverse=True)]

    # -- what the library tells

    def _alerts_came(self) -> None:
        try:
            self._reader.recv(4096)
        except BlockingIOError:
            return
        for alert in self._session.pop_alerts():
            handler = self._handlers.get(type(alert))
            if handler is not None:
                handler(alert)

    def _addresses_came(self, alert: Any) -> None:
        found = self._searches.get(alert.info_hash.to_bytes())
        if found is not None:
            found([(str(host), int(port)) for host, port in alert.peers()])

    def _item_came(self, alert: Any) -> None:
        answers = self._items.get((bytes(alert.key), bytes(alert.salt)))
        if answers is None:
            return
        if isinstance(alert.item, bytes) and 0 < len(alert.item) <= MAX_VALUE_BYTES:
            answers.came(int(alert.seq), alert.item)
        elif alert.authoritative:  # everybody was asked, and nobody has it
            answers.end()

    def _put_done(self, alert: Any) -> None:
        future = self._puts.get((bytes(alert.public_key), bytes(alert.salt)))
        if future is not None and not future.done():
            future.set_result(int(alert.num_success))


class _Answers:
    """What came about one item, by its sequence number.

    Args:
        done: is done when something has come.
    """

    def __init__(self, done: asyncio.Future[None]) -> None:
        self.done = done
        self.values: dict[int, bytes] = {}

    def came(self, sequence: int, value: bytes) -> None:
        if len(self.values) < MAX_VALUES:
            self.values.setdefault(sequence, value)
        self.end()

    def end(self) -> None:
        if not self.done.done():
            self.done.set_result(None)


def _libtorrent() -> Any:
    try:
        import libtorrent
    except ImportError as error:
        problem = "libtorrent is not installed, so peers are found by gossip alone; install it, or set this to false"
        raise ConfigError("peers.dht", problem) from error
    return libtorrent


def _settings(lt: Any, options: DhtOptions) -> dict[str, Any]:
    kinds = lt.alert.category_t
    off: Sequence[str] = (
        *("enable_lsd", "enable_upnp", "enable_natpmp"),
        *("enable_incoming_tcp", "enable_outgoing_tcp", "enable_incoming_utp", "enable_outgoing_utp"),
    )
    return dict.fromkeys(off, False) | {
        "listen_interfaces": options.listen,
        "enable_dht": True,
        "dht_bootstrap_nodes": ",".join(f"{host}:{port}" for host, port in options.routers),
        "dht_read_only": options.read_only,
        "dht_item_lifetime": ITEM_LIFE_S,
        "dht_upload_rate_limit": UPLOAD_PER_S,
        "dht_block_ratelimit": PACKETS_PER_S,
        "alert_mask": int(kinds.dht_notification | kinds.dht_operation_notification),
        "alert_queue_size": MAX_ALERTS,
    }


def _expanded(seed: bytes) -> bytes:
    """Expand a private key to the scalar and the prefix that signing takes. Source: RFC 8032, section 5.1.5."""
    digest = bytearray(hashlib.sha512(seed).digest())
    digest[0] &= 0b1111_1000
    digest[31] = digest[31] & 0b0011_1111 | 0b0100_0000
    return bytes(digest)
