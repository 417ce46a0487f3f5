"""What is said of where a client's circuits lead."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, Final

from core.flow import NO_OPTIONS, SiteOptions
from node.choice_view import own_paths

REGIONS: Final = {b"nl": "NL", b"de": "DE", b"?": ""}
CHOOSING: Final[Any] = SimpleNamespace(
    region=REGIONS.__getitem__, choice=SimpleNamespace(offer=lambda peer: f"ports of {peer.decode()}")
)


def circuit(last: bytes, hops: int, flows: int, *, used: bool = True, options: SiteOptions = NO_OPTIONS) -> Any:
    path = [SimpleNamespace(peer=peer) for peer in [*[b"hop"] * (hops - 1), last]]
    return SimpleNamespace(path=path, flows=range(flows), isolation=("x",) if used else None, options=options)


def test_the_first_in_use_for_all_sites_is_the_one_that_is_told() -> None:
    some = circuit(b"de", 2, 1, options=SiteOptions(isolated=True))
    told = own_paths(CHOOSING, [circuit(b"?", 5, 0, used=False), some, circuit(b"nl", 3, 4)])
    assert told == {
        "exit_region": "NL",
        "exit_regions": ["DE", "NL"],
        "exit_serves": "ports of nl",
        "hops": 3,
        "flows": 5,
        "circuits": 3,
    }


def test_one_that_is_ready_is_told_while_none_is_in_use() -> None:
    told = own_paths(CHOOSING, [circuit(b"de", 2, 0, used=False), circuit(b"nl", 3, 0, used=False)])
    assert (told["exit_region"], told["hops"], told["exit_regions"]) == ("DE", 2, ["DE"])


def test_without_circuits_nothing_is_known() -> None:
    told = own_paths(CHOOSING, [])
    assert told == dict(told, exit_region="", exit_regions=[], exit_serves="", hops=0, flows=0, circuits=0)
