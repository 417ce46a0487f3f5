"""Vouchers: what Ethereum's own tools say of them, and every way in which one can be wrong."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import coincurve
import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import PaymentError, Reason
from ledger.amounts import MAX_AMOUNT
from ledger.voucher import Domain, SigningKey, address_of, check, check_proof, digest_of, keccak256
from tests.harness.entropy import flipped

ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
SECRET: Final = bytes(range(1, 33))
KEY: Final = SigningKey(SECRET)
DOMAIN: Final = Domain(31337, b"\xc0" * 20)
HERE: Final = DOMAIN.separator
CHANNEL: Final = b"\xab" * 32
CUMULATIVE: Final = 123_456_789
SIGNATURE: Final = KEY.sign(HERE, CHANNEL, CUMULATIVE)
LINK: Final = b"\x11" * 32

SECRETS = st.integers(1, ORDER - 1).map(lambda value: value.to_bytes(32))
WORDS = st.binary(min_size=32, max_size=32)
AMOUNTS = st.integers(0, MAX_AMOUNT)
DOMAINS = st.builds(Domain, st.integers(0, 2**256 - 1), st.binary(min_size=20, max_size=20))


def typed(domain: Domain, kind: str, fields: dict[str, str], values: dict[str, Any]) -> Any:
    """A struct in a domain, for eth-account."""
    return encode_typed_data(
        {
            "name": "Macro VPN channels",
            "version": "1",
            "chainId": domain.chain_id,
            "verifyingContract": "0x" + domain.contract.hex(),
        },
        {kind: [{"name": name, "type": form} for name, form in fields.items()]},
        values,
    )


def voucher(domain: Domain, channel: bytes, cumulative: int) -> Any:
    fields = {"channelId": "bytes32", "cumulative": "uint128"}
    return typed(domain, "Voucher", fields, {"channelId": channel, "cumulative": cumulative})


def refused(
    signature: bytes, *, cumulative: int = CUMULATIVE, separator: bytes = HERE, channel: bytes = CHANNEL
) -> None:
    with pytest.raises(PaymentError) as caught:
        check(KEY.address, separator, channel, cumulative, signature)
    assert caught.value.reason is Reason.BAD_VOUCHER


def signature(r: int, s: int, v: int) -> bytes:
    return r.to_bytes(32) + s.to_bytes(32) + bytes([v])


R, S, V = int.from_bytes(SIGNATURE[:32]), int.from_bytes(SIGNATURE[32:64]), SIGNATURE[64]


def test_literal_vector() -> None:
    """Made by eth-account 0.14.0."""
    assert KEY.address.hex() == "6370ef2f4db3611d657b90667de398a2cc2a370c"
    assert HERE.hex() == "482e73d780c828ba9b43b471ec023f9b5feb296c680dbebb35f2ca21c1f36453"
    assert (
        digest_of(HERE, CHANNEL, CUMULATIVE).hex() == "f13a9a0ed559350fc5f0af2c8a40cb603b794a886843b29df8618958f20751d8"
    )
    assert SIGNATURE.hex() == (
        "e651720f69ff81cfedb5c1b80e44ad3ebb86eccfed65e9dffc71668aca45abb9"
        "24ed19521712b3aa754584ff6a83bd35c31d06920453ab26c5ddb0f10cd0f9d81b"
    )
    check(KEY.address, HERE, CHANNEL, CUMULATIVE, SIGNATURE)


@given(SECRETS, DOMAINS, WORDS, AMOUNTS)
@settings(max_examples=60, deadline=None)
def test_ethereum_signs_the_same(secret: bytes, domain: Domain, channel: bytes, cumulative: int) -> None:
    key, said = SigningKey(secret), voucher(domain, channel, cumulative)
    assert domain.separator == said.header
    assert digest_of(domain.separator, channel, cumulative) == keccak256(b"\x19\x01" + said.header + said.body)
    signed = key.sign(domain.separator, channel, cumulative)
    assert signed == bytes(Account.from_key(secret).sign_message(said).signature)
    assert Account.recover_message(said, signature=signed) == Account.from_key(secret).address
    assert bytes.fromhex(Account.from_key(secret).address[2:]) == key.address
    check(key.address, domain.separator, channel, cumulative, signed)


@given(SECRETS, DOMAINS, WORDS, WORDS)
@settings(max_examples=30, deadline=None)
def test_ethereum_signs_the_same_proof(secret: bytes, domain: Domain, channel: bytes, link: bytes) -> None:
    fields = {"channelId": "bytes32", "link": "bytes32"}
    said = typed(domain, "Proof", fields, {"channelId": channel, "link": link})
    proof = SigningKey(secret).prove(domain.separator, channel, link)
    assert proof == bytes(Account.from_key(secret).sign_message(said).signature)
    check_proof(SigningKey(secret).address, domain.separator, channel, link, proof)


# -- what is refused


def test_each_flipped_bit_is_refused() -> None:
    for bit in range(8 * len(SIGNATURE)):
        refused(flipped(SIGNATURE, bit))


@given(st.integers(0, 127))
@settings(max_examples=30, deadline=None)
def test_another_amount_is_refused(bit: int) -> None:
    refused(SIGNATURE, cumulative=CUMULATIVE ^ 1 << bit)


@given(SECRETS.filter(lambda secret: secret != SECRET))
@settings(max_examples=30, deadline=None)
def test_another_key_is_refused(secret: bytes) -> None:
    refused(SigningKey(secret).sign(HERE, CHANNEL, CUMULATIVE))


def test_the_other_signature_of_the_same_is_refused() -> None:
    """Anyone can make it out of the first one; its s is high."""
    twin = signature(R, ORDER - S, 27 + (28 - V))
    public = coincurve.PublicKey.from_signature_and_message(
        twin[:64] + bytes([twin[64] - 27]), digest_of(HERE, CHANNEL, CUMULATIVE), hasher=None
    )
    assert address_of(public) == KEY.address, "or the test shows nothing"
    refused(twin)


def test_half_of_the_order_is_low_and_no_more() -> None:
    """Whose key it is follows from the signature, so that nothing but s can be wrong."""
    for s, low in ((ORDER // 2, True), (ORDER // 2 + 1, False)):
        public = coincurve.PublicKey.from_signature_and_message(
            signature(R, s, 27)[:64] + b"\0", digest_of(HERE, CHANNEL, CUMULATIVE), hasher=None
        )
        if low:
            check(address_of(public), HERE, CHANNEL, CUMULATIVE, signature(R, s, 27))
        else:
            with pytest.raises(PaymentError):
                check(address_of(public), HERE, CHANNEL, CUMULATIVE, signature(R, s, 27))


@pytest.mark.parametrize("s", [ORDER // 2 + 1, ORDER - 1, ORDER, ORDER + S, 2**256 - 1, 0])
def test_s_out_of_range_is_refused(s: int) -> None:
    for v in (27, 28):
        refused(signature(R, s % 2**256, v))


@pytest.mark.parametrize("r", [0, ORDER, ORDER + 1, 2**256 - 1])
def test_r_out_of_range_is_refused(r: int) -> None:
    for v in (27, 28):
        refused(signature(r, S, v))


def is_x(x: int) -> bool:
    """Whether a point of the curve y² = x³ + 7 has this x."""
    prime = 2**256 - 2**32 - 977
    return pow(x**3 + 7, (prime - 1) // 2, prime) == 1


def test_an_r_of_no_point_is_refused() -> None:
    assert not is_x(5)
    refused(signature(5, S, V))


def test_bad_v_is_refused() -> None:
    for v in set(range(256)) - {V}:
        refused(SIGNATURE[:64] + bytes([v]))


@pytest.mark.parametrize("v", [29, 30])
def test_an_r_that_was_reduced_is_refused_as_ethereum_does(v: int) -> None:
    """Whose R has an x above the order can be recovered from too, and has a key, but no contract would take it."""
    r = next(r for r in range(1, 100) if is_x(ORDER + r))
    reduced = signature(r, S, v)
    digest = digest_of(HERE, CHANNEL, CUMULATIVE)
    public = coincurve.PublicKey.from_signature_and_message(reduced[:64] + bytes([v - 27]), digest, hasher=None)
    with pytest.raises(PaymentError):
        check(address_of(public), HERE, CHANNEL, CUMULATIVE, reduced)


@pytest.mark.parametrize("size", [0, 1, 64, 66, 130])
def test_a_wrong_length_is_refused(size: int) -> None:
    refused((SIGNATURE * 2)[:size])


def test_it_counts_nowhere_else() -> None:
    check(KEY.address, HERE, CHANNEL, CUMULATIVE, SIGNATURE)
    local = Domain(0, DOMAIN.contract)
    for other in (Domain(1, DOMAIN.contract), Domain(31337, b"\xc0" * 19 + b"\xc1"), local):
        refused(SIGNATURE, separator=other.separator)
        refused(KEY.sign(other.separator, CHANNEL, CUMULATIVE))
    for bit in range(256):
        refused(SIGNATURE, channel=flipped(CHANNEL, bit))


@given(DOMAINS, DOMAINS)
def test_every_domain_has_its_own_separator(one: Domain, other: Domain) -> None:
    assert (one == other) == (one.separator == other.separator)


@pytest.mark.parametrize("wrong", [-1, MAX_AMOUNT + 1, 2**256, 1.0, True, "1", None])
def test_amounts_are_whole_numbers(wrong: Any) -> None:
    refused(SIGNATURE, cumulative=wrong)
    for use in (KEY.sign, digest_of):
        with pytest.raises(ValueError, match="whole number"):
            use(HERE, CHANNEL, wrong)


@pytest.mark.parametrize("sizes", [(31, 32), (33, 32), (32, 31), (32, 33), (0, 64)])
def test_ids_have_32_bytes(sizes: tuple[int, int]) -> None:
    separator, channel = bytes(sizes[0]), bytes(sizes[1])
    refused(SIGNATURE, separator=separator, channel=channel)
    with pytest.raises(ValueError, match="32 bytes"):
        KEY.sign(separator, channel, 1)
    with pytest.raises(ValueError, match="32 bytes"):
        KEY.prove(separator, channel, LINK)


# -- proofs


def test_a_proof_counts_on_its_link_alone() -> None:
    proof = KEY.prove(HERE, CHANNEL, LINK)
    check_proof(KEY.address, HERE, CHANNEL, LINK, proof)
    wrong = [
        (HERE, CHANNEL, flipped(LINK, 0), proof),
        (HERE, flipped(CHANNEL, 0), LINK, proof),
        (Domain(0, DOMAIN.contract).separator, CHANNEL, LINK, proof),
        (HERE, CHANNEL, LINK, SigningKey(LINK).prove(HERE, CHANNEL, LINK)),
        (HERE, CHANNEL, LINK, proof[:64]),
    ]
    for separator, channel, link, shown in wrong:
        with pytest.raises(PaymentError):
            check_proof(KEY.address, separator, channel, link, shown)
    with pytest.raises(ValueError, match="32 bytes"):
        check_proof(KEY.address, HERE, CHANNEL, LINK[1:], proof)


def test_a_proof_is_no_voucher_and_a_voucher_no_proof() -> None:
    """Not even where what they say is the same 32 bytes."""
    link = CUMULATIVE.to_bytes(32)
    refused(KEY.prove(HERE, CHANNEL, link))
    with pytest.raises(PaymentError):
        check_proof(KEY.address, HERE, CHANNEL, link, SIGNATURE)


# -- keys


@pytest.mark.parametrize("secret", [bytes(32), ORDER.to_bytes(32), b"\xff" * 32, b"", bytes(31) + b"\1\1"])
def test_no_key_has_such_a_secret(secret: bytes) -> None:
    with pytest.raises(ValueError, match=r"secret|Secret"):
        SigningKey(secret)


def test_a_key_is_never_printed() -> None:
    assert str(KEY) == repr(KEY) == f"{KEY}" == "SigningKey([redacted])"


def test_there_is_no_slow_fallback() -> None:
    """coincurve has its C library and nothing else (eth-keys, which Ethereum's tools go through, would do without it
    and be ten times as slow). So a node that lacks it does not start, and says what is missing."""
    begin = "import sys; sys.modules['coincurve._libsecp256k1'] = None; import ledger.voucher"
    ended = subprocess.run(
        [sys.executable, "-c", begin],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 1
    assert "ModuleNotFoundError: import of coincurve._libsecp256k1 halted" in ended.stderr
