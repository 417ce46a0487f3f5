"""What a wallet can be told to do, as it comes over the control interface."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

type _Units = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
type _Channel = Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{4,64})?$")]


class WalletOrder(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One order.

    Args:
        what: which.
        channel: its id in hexadecimal digits, from 4 on; empty for the one, or those, that is meant by itself.
        units: an amount; None for none.
        path: of a file.
    """

    what: Literal["claim", "close", "cap", "deposit", "export"]
    channel: _Channel = ""
    units: _Units | None = None
    path: Annotated[str, msgspec.Meta(max_length=4096)] = ""

    @classmethod
    def read(cls, what: str, body: bytes) -> WalletOrder:
        """Read an order.

        Args:
            what: the last part of the path.
            body: a JSON object with the rest, or nothing.

        Raises:
            ValueError: it is none, or lacks what it needs.
        """
        try:
            fields = msgspec.json.decode(body or b"{}", type=dict[str, object])
            order = msgspec.convert({**fields, "what": what}, cls)
        except msgspec.ValidationError as error:
            raise ValueError(f"This is no order to a wallet: {error}.") from error
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError("The body must be a JSON object.") from error
        if "what" in fields:
            raise ValueError("This is no order to a wallet: what is to be done stands in the path.")
        if (what == "deposit" and not order.units) or (what == "export" and not order.path):
            raise ValueError(f"{what} needs {'units' if what == 'deposit' else 'a path'}.")
        return order
