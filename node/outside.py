"""Destinations that are not on the Internet are refused here, so that no exit is told of them.

An exit refuses them in any case. But a browser also asks for what stands beside it, such as the router's page, and that
tells much of whoever lives there.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import TYPE_CHECKING

from core.errors import FlowError, Reason
from exits.addresses import AddressFilter
from exits.names import parse_destination

if TYPE_CHECKING:
    from collections.abc import Iterable

    from core.flow import Buffer, DatagramFlow, DatagramListener, Flow, FlowRequest
    from proxy.dialer import Dialer


class OutsideOnly:
    """Passes on what may be asked of exits. Implements `proxy.dialer.Dialer`.

    Args:
        dialer: opens the flows.
        allow: special networks that exits may be asked for; with any, names that only these may know pass as well.
    """

    def __init__(self, dialer: Dialer, allow: Iterable[str] = ()) -> None:
        networks = [ip_network(text) for text in allow]
        self._dialer = dialer
        self._filter = AddressFilter(allow=networks)
        self._special_names = bool(networks)

    async def dial(self, request: FlowRequest, *, early: bool) -> Flow:
        """Open a flow, as `proxy.dialer.Dialer` says.

        Raises:
            FlowError: `INSIDE` for what is not on the Internet, or the flow could not be opened.
        """
        self.check(request.host)
        return await self._dialer.dial(request, early=early)

    async def dial_datagrams(self, isolation: str) -> DatagramFlow:
        """Open a UDP association, as `proxy.dialer.Dialer` says. What is not on the Internet is not sent.

        Raises:
            FlowError: it could not be opened, with the reason.
        """
        return _OutsideDatagrams(await self._dialer.dial_datagrams(isolation), self)

    def check(self, host: str) -> None:
        """Look at a host by itself: a name is not resolved.

        Raises:
            FlowError: `INSIDE` for a special address or name, or a number in disguise; `NO_NAME` for what is no name.
        """
        try:
            found = parse_destination(host, allow_special=self._special_names)
        except FlowError as error:
            raise FlowError(Reason.INSIDE if error.reason is Reason.NOT_ALLOWED else error.reason) from error
        if isinstance(found, IPv4Address | IPv6Address) and not self._filter.may_allow(found):
            raise FlowError(Reason.INSIDE)


class _OutsideDatagrams:
    """A `core.flow.DatagramFlow` that drops what is not for the Internet."""

    def __init__(self, flow: DatagramFlow, gate: OutsideOnly) -> None:
        self._flow = flow
        self._gate = gate

    def attach(self, listener: DatagramListener) -> None:
        self._flow.attach(listener)

    def send(self, host: str, port: int, data: Buffer) -> bool:
        try:
            self._gate.check(host)
        except FlowError:
            return False
        return self._flow.send(host, port, data)

    def close(self, reason: Reason) -> None:
        self._flow.close(reason)
