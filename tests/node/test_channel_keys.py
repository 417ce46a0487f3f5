"""Where the keys of channels come from."""

from __future__ import annotations

import hashlib
import hmac

from node.channel_keys import ChannelKeys


def test_they_are_derived_as_rfc_5869_says() -> None:
    separator, account, number = b"\1" * 32, b"\2" * 20, 3
    info = b"Macro VPN v1 channel keys" + separator + account + bytes(7) + b"\3"
    prk = hmac.digest(bytes(32), b"\7" * 32, hashlib.sha256)
    expected = hmac.digest(prk, info + b"\1", hashlib.sha256)
    assert ChannelKeys(b"\7" * 32).secret(separator, account, number) == expected


def test_each_channel_has_its_own() -> None:
    secrets = {
        ChannelKeys(seed).secret(separator, account, number)
        for seed in (b"\1" * 32, b"\2" * 32)
        for separator in (bytes(32), b"\1" * 32)
        for account in (bytes(20), b"\1" * 20)
        for number in (0, 1)
    }
    assert len(secrets) == 16
    assert "redacted" in repr(ChannelKeys(b"\1" * 32))
