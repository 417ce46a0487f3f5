"""What an exit is made of: how it finds names, and how it reaches destinations."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from exits.addresses import AddressFilter
from exits.egress import Egress
from exits.name_server import NameServer
from exits.resolver import NameResolver, open_resolver
from exits.routes import system_routes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from exits.addresses import Address
    from exits.policy import Policy
    from node.serving import Serving
    from node.settings import ExitSettings


def open_exit(
    chosen: ExitSettings,
    policy: Policy,
    serving: Serving,
    control: tuple[str, int],
    own_addresses: Callable[[], Collection[Address]],
) -> tuple[NameResolver, Egress]:
    """Make both; nothing is connected yet.

    Args:
        chosen: the settings.
        policy: what the exit serves.
        serving: the operator's limits and pages.
        control: where the node's control interface listens, which nobody reaches through the exit.
        own_addresses: names the addresses of this machine as others see them.
    """
    resolver = open_resolver(NameServer.parse(chosen.resolver) if chosen.resolver else None)
    source = ip_address(chosen.egress_address) if chosen.egress_address else None
    egress = Egress(
        resolver=resolver,
        address_filter=AddressFilter(
            allow=[ip_network(text) for text in chosen.allow_destinations],
            deny_endpoints=[(ip_address(control[0]), control[1]), *serving.pages.own()],
            way_to=system_routes(source).way_to,
            own=own_addresses,
        ),
        policy=policy,
        source_address=chosen.egress_address or None,
        # A resolver may stand in the house, and know names of the house: they are for tests, as that setting is.
        allow_special_names=bool(chosen.resolver and chosen.allow_destinations),
        admits=serving.sharing.refuses_flow,
        shaper=serving.sharing.shaper,
    )
    return resolver, egress
