"""From what is seen of the network to what may go direct: every change, and whatever goes wrong, closes the way."""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from core.errors import DecodeError
from node.trust import reader as reader_module
from node.trust import watch as watch_module
from node.trust.watch import JUMP_S, NOWHERE, NothingToConfirmError, TrustWatch, direct_because, sentence
from pac.trusted import Attachment, Security, TrustedNetwork
from proxy import trusted
from proxy.trusted import TrustedWay
from tests.harness.waiting import turns, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

HOME = Attachment("wlan0", "192.168.1.1", "00:11:22:aa:bb:cc", b"home", Security.WPA, "", (3, 1))
CABLE = Attachment("eth0", "10.0.0.1", "00:11:22:aa:bb:cc", period=(2, 1))
CAFE = Attachment("wlan0", "172.16.0.1", "66:11:22:aa:bb:cc", b"cafe", period=(3, 3))
SURE, ASKS = TrustedNetwork.parse("home: ssid=home security=wpa"), TrustedNetwork.parse("office: gateway=10.0.0.1")


class Seen:
    """What the system says, and when."""

    def __init__(self) -> None:
        self.found: Attachment | None = HOME
        self.error: Exception | None = None
        self.reads = 0
        self.answers = asyncio.Event()
        self.answers.set()
        self.during: Callable[[], None] = lambda: None
        self.closed = False

    async def read(self) -> Attachment | None:
        self.reads += 1
        found = self.found
        await self.answers.wait()
        self.during()
        if self.error is not None:
            raise self.error
        return found

    def close(self) -> None:
        self.closed = True


class Told:
    """Stands in for the kernel's word of changes."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self.changed = changed
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Rig:
    """A watch with a way that it opens and closes."""

    def __init__(self) -> None:
        self.seen = Seen()
        self.way = TrustedWay()
        self.told: list[Told] = []
        self.slept_s = 0.0
        self.watch = TrustWatch(self.way, self.seen, self._tell, lambda: time.monotonic() + self.slept_s)

    def _tell(self, changed: Callable[[], None]) -> Told:
        self.told.append(Told(changed))
        return self.told[-1]

    @property
    def state(self) -> str:
        return str(self.watch.status()["state"])

    def word(self) -> None:
        """Tell of a change."""
        self.told[0].changed()

    async def is_in(self, state: str) -> None:
        await until(lambda: self.state == state)

    async def looks_again(self) -> None:
        """Wait for a whole look that begins after this."""
        reads = self.seen.reads
        await until(lambda: self.seen.reads > reads + 1)


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    monkeypatch.setattr(trusted, "check_device", lambda device: None)
    monkeypatch.setattr(watch_module, "POLL_S", 0.02)
    monkeypatch.setattr(watch_module, "SETTLE_S", 0.0)
    rig = Rig()
    yield rig
    await rig.watch.close()


@pytest.fixture
async def at_work(rig: Rig) -> Rig:
    """On a network that asks, and was confirmed."""
    rig.seen.found = CABLE
    rig.watch.use([SURE, ASKS])
    await rig.is_in("asking")
    await rig.watch.confirm()
    assert rig.way.is_open
    return rig


async def test_a_network_that_proved_itself_is_trusted_at_once(rig: Rig) -> None:
    assert rig.watch.status() == NOWHERE
    assert not rig.way.is_open
    rig.watch.use([ASKS, SURE])
    await rig.is_in("trusted")
    assert rig.way.is_open
    assert rig.watch.status() == {"state": "trusted", "name": "home", "confirmed": False}


async def test_nobody_looks_while_no_network_is_trusted(rig: Rig) -> None:
    assert rig.seen.reads == 0
    rig.watch.use([])
    await turns()
    assert (rig.seen.reads, rig.told, rig.state) == (0, [], "off")
    rig.watch.use([SURE])
    await rig.is_in("trusted")
    rig.watch.use([])
    assert (rig.state, rig.way.is_open) == ("off", False)
    rig.word()
    with pytest.raises(NothingToConfirmError):
        await rig.watch.confirm()
    reads = rig.seen.reads
    rig.watch.use([])
    await turns()
    assert (rig.seen.reads, rig.state) == (reads, "off")


async def test_what_can_be_imitated_only_asks(rig: Rig) -> None:
    rig.seen.found = CABLE
    rig.watch.use([SURE, ASKS])
    await rig.is_in("asking")
    await rig.looks_again()
    assert not rig.way.is_open
    assert rig.watch.status() == {"state": "asking", "name": "office", "confirmed": False}
    await rig.watch.confirm()
    assert rig.way.is_open
    assert rig.watch.status() == {"state": "trusted", "name": "office", "confirmed": True}
    await rig.looks_again()
    assert rig.way.is_open


@pytest.mark.parametrize(
    "then",
    [
        CAFE,
        None,
        replace(CABLE, mac="66:11:22:aa:bb:cc"),
        replace(CABLE, mac=""),
        replace(CABLE, period=(2, 3)),  # the same signs, and the signal was away meanwhile
        replace(CABLE, interface="eth1"),
        replace(CABLE, ssid=b"x"),
    ],
)
async def test_a_confirmation_ends_with_any_change(at_work: Rig, then: Attachment | None) -> None:
    at_work.seen.found = then
    await at_work.looks_again()
    assert not at_work.way.is_open
    at_work.seen.found = CABLE
    await at_work.is_in("asking")
    await at_work.looks_again()
    assert not at_work.way.is_open


async def test_another_stay_is_trusted_too_and_cuts_what_is_left_of_the_first(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    rig.watch.use([SURE])
    await rig.is_in("trusted")
    cuts: list[None] = []
    monkeypatch.setattr(rig.way, "close", lambda: cuts.append(None))
    rig.seen.found = replace(HOME, mac="")
    await rig.looks_again()
    assert not cuts, "it is the same stay"
    rig.seen.found = replace(HOME, period=(3, 3))
    await rig.looks_again()
    assert len(cuts) == 1
    assert rig.way.is_open


async def test_a_confirmation_ends_with_sleep(at_work: Rig) -> None:
    at_work.slept_s = JUMP_S - 1
    await at_work.looks_again()
    assert at_work.way.is_open
    at_work.slept_s += JUMP_S + 1
    await at_work.is_in("asking")
    assert not at_work.way.is_open


async def test_a_confirmation_ends_with_a_change_of_the_list(at_work: Rig) -> None:
    at_work.watch.use([ASKS])
    await at_work.is_in("asking")
    assert not at_work.way.is_open


async def test_word_of_a_change_that_changed_nothing_pauses_only(at_work: Rig) -> None:
    at_work.seen.answers.clear()
    at_work.word()
    assert not at_work.way.is_open, "from the moment on that there is word"
    assert at_work.state == "trusted"
    at_work.seen.answers.set()
    await until(lambda: at_work.way.is_open)
    assert at_work.watch.status()["confirmed"]


async def test_word_during_a_look_makes_it_count_for_nothing(at_work: Rig) -> None:
    """What is read may be from before the change."""
    at_work.seen.answers.clear()
    reads = at_work.seen.reads
    await until(lambda: at_work.seen.reads > reads)
    at_work.word()
    at_work.seen.found = CAFE
    at_work.seen.answers.set()
    await at_work.is_in("elsewhere")
    assert not at_work.way.is_open


async def test_word_without_end_closes(at_work: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "DOUBT_S", 0.1)
    at_work.seen.during = at_work.word
    at_work.word()
    await at_work.is_in("unknown")
    at_work.seen.during = lambda: None
    await at_work.is_in("asking")
    assert not at_work.way.is_open


@pytest.mark.parametrize("error", [OSError("no"), DecodeError("D-Bus", "no"), RuntimeError("no")])
async def test_whatever_goes_wrong_is_not_trusted(rig: Rig, error: Exception) -> None:
    rig.watch.use([SURE])
    await rig.is_in("trusted")
    rig.seen.error = error
    await rig.is_in("unknown")
    assert not rig.way.is_open
    rig.seen.error = None
    await rig.is_in("trusted")


async def test_a_system_that_does_not_answer_is_not_trusted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_module, "READ_S", 0.1)
    rig.watch.use([SURE])
    await rig.is_in("trusted")
    rig.seen.answers.clear()
    await rig.is_in("unknown")
    assert not rig.way.is_open


async def test_a_device_that_nothing_can_be_tied_to_is_not_trusted(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(device: str) -> None:
        raise OSError(device)

    monkeypatch.setattr(trusted, "check_device", refuse)
    rig.watch.use([SURE])
    await rig.is_in("unknown")
    await rig.looks_again()
    assert (rig.state, rig.way.is_open) == ("unknown", False)


async def test_only_what_asks_can_be_confirmed(rig: Rig) -> None:
    rig.seen.found = CAFE
    rig.watch.use([SURE, ASKS])
    await rig.is_in("elsewhere")
    with pytest.raises(NothingToConfirmError):
        await rig.watch.confirm()
    assert not rig.way.is_open
    rig.seen.found = HOME
    await rig.is_in("trusted")
    with pytest.raises(NothingToConfirmError):
        await rig.watch.confirm()


async def test_who_confirms_in_doubt_waits_for_the_look(rig: Rig) -> None:
    rig.seen.found = CABLE
    rig.seen.answers.clear()
    rig.watch.use([ASKS])
    confirming = asyncio.ensure_future(rig.watch.confirm())
    await until(lambda: rig.seen.reads)
    rig.seen.answers.set()
    await confirming
    assert rig.way.is_open
    rig.seen.answers.clear()
    rig.word()
    rig.seen.found = CAFE
    confirming = asyncio.ensure_future(rig.watch.confirm())
    rig.seen.answers.set()
    with pytest.raises(NothingToConfirmError):
        await confirming
    assert not rig.way.is_open


async def test_the_end_closes_everything(at_work: Rig) -> None:
    await at_work.watch.close()
    assert not at_work.way.is_open
    assert at_work.seen.closed
    assert [told.closed for told in at_work.told] == [True]


async def test_a_watch_that_breaks_leaves_nothing_open(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.watch.use([SURE])
    await rig.is_in("trusted")

    def break_down(*arguments: object) -> Any:
        raise AssertionError("broken on purpose")

    monkeypatch.setattr(watch_module, "judge", break_down)
    await rig.is_in("unknown")
    assert not rig.way.is_open


def tells_nothing(changed: Callable[[], None]) -> Told:
    """What a kernel does that gives no word of changes."""
    raise OSError("no such socket")


@pytest.mark.parametrize("changes", [None, tells_nothing])
async def test_without_word_of_changes_it_looks_all_the_same(
    monkeypatch: pytest.MonkeyPatch, changes: Callable[[Callable[[], None]], Told] | None
) -> None:
    monkeypatch.setattr(trusted, "check_device", lambda device: None)
    monkeypatch.setattr(watch_module, "POLL_S", 0.02)
    seen, way = Seen(), TrustedWay()
    watch = TrustWatch(way, seen, changes)
    watch.use([SURE])
    await until(lambda: way.is_open)
    seen.found = CAFE
    await until(lambda: not way.is_open)
    await watch.close()


@pytest.mark.parametrize(
    ("state", "confirmed", "words"),
    [
        ("off", False, ""),
        ("unknown", False, "not trusted"),
        ("elsewhere", False, "none of your trusted networks"),
        ("asking", False, "looks like home.*macrovpn trust confirm"),
        ("trusted", False, "home, which proved itself.*goes direct"),
        ("trusted", True, "home, as you confirmed.*goes direct"),
    ],
)
def test_what_the_user_reads(state: str, confirmed: bool, words: str) -> None:
    status = {"state": state, "name": "home", "confirmed": confirmed}
    assert re.search(words, sentence(status))
    assert (sentence(status) == "") is (state == "off")
    assert direct_because(status) == (sentence(status) if state == "trusted" else "")
