"""The webhook's own certificate: at every moment every API server trusts every replica, whoever lags behind."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509

from curation.reconciler.process.webhook_certificate import (
    RENEW_BEFORE,
    SHOWN_FOR,
    TRUSTED_FOR,
    VALID,
    Kept,
    Pair,
    following,
    make,
)

NAMES = ("curation-operator-webhook.curation-system.svc", "curation-operator-webhook.curation-system.svc.cluster.local")
START = datetime(2026, 1, 1, tzinfo=UTC)
API_LAG = timedelta(seconds=60)
"""Until every API server has seen a change of its configuration."""
REPLICA_LAG = timedelta(seconds=45)
"""Until every replica shows what the Secret holds."""


def trusts(bundle: bytes, certificate: bytes) -> bool:
    shown = x509.load_pem_x509_certificate(certificate)
    for authority in x509.load_pem_x509_certificates(bundle):
        try:
            shown.verify_directly_issued_by(authority)
        except Exception:
            continue
        return True
    return False


def stored(kept: Kept) -> Kept:
    """As a Secret gives it back."""
    return Kept.read({name: value for name, value in kept.data().items() if value is not None})


@pytest.mark.parametrize("step", [timedelta(seconds=30), timedelta(minutes=7), timedelta(hours=5)])
def test_at_every_moment_whatever_is_shown_is_trusted_by_whoever_lags(step: timedelta) -> None:
    now, kept = START, following(Kept(), NAMES, False, START)
    bundles, shown = [(now, kept.bundle)], [(now, kept.shown)]
    seen = set[bytes]()
    end = START + 2 * VALID
    while now < end:
        # Most of the time nothing happens; while one takes the place of the other every step counts.
        now += step if kept.coming is not None or kept.going else timedelta(days=1)
        kept = following(stored(kept), NAMES, bundles[-1][1] == kept.bundle, now)
        bundles.append((now, kept.bundle))
        shown.append((now, kept.shown))
        assert kept.shown is not None
        seen.add(kept.shown.certificate)
        present = {id(each): each for at, each in shown if at >= now - REPLICA_LAG} | {0: kept.shown}
        trusted = [each for at, each in bundles if at >= now - API_LAG]
        for bundle in trusted[-3:]:
            for pair in present.values():
                assert pair is not None
                if now > START + API_LAG:
                    assert trusts(bundle, pair.certificate)
        certificate = x509.load_pem_x509_certificate(kept.shown.certificate)
        assert now < certificate.not_valid_after_utc
    assert len(seen) >= 3, "it was renewed"


def test_the_next_one_is_shown_only_once_the_api_server_was_told_to_trust_it() -> None:
    kept = following(Kept(), NAMES, False, START)
    due = START + VALID - RENEW_BEFORE
    coming = following(kept, NAMES, True, due)
    assert coming.coming is not None
    assert coming.shown == kept.shown
    assert coming.bundle.startswith(kept.bundle)
    later = due + 10 * TRUSTED_FOR
    assert following(coming, NAMES, False, later) == coming, "the configuration could not be written"
    assert following(coming, NAMES, True, due + TRUSTED_FOR - timedelta(seconds=1)) == coming
    promoted = following(coming, NAMES, True, later)
    assert (promoted.shown, promoted.coming, promoted.going) == (coming.coming, None, kept.bundle)
    assert following(promoted, NAMES, True, later + SHOWN_FOR - timedelta(seconds=1)) == promoted
    settled = following(promoted, NAMES, True, later + SHOWN_FOR)
    assert settled.bundle == promoted.shown.authority if promoted.shown else False
    assert following(settled, NAMES, True, later + SHOWN_FOR * 2) == settled


@pytest.mark.parametrize("damage", ["expired", "other names", "no key", "another key", "not PEM", "nothing"])
def test_what_cannot_be_shown_is_replaced_at_once(damage: str) -> None:
    good, other = make(NAMES, START), make(NAMES, START)
    now = START + VALID if damage == "expired" else START
    pair = {
        "expired": good,
        "other names": make(("another.name",), START),
        "no key": Pair(good.certificate, b"", good.authority),
        "another key": Pair(good.certificate, other.key, good.authority),
        "not PEM": Pair(b"x", b"y", b"z"),
        "nothing": None,
    }[damage]
    kept = following(stored(Kept(pair, since=START)), NAMES, True, now)
    assert kept.shown is not None
    assert kept.shown.serves(NAMES, now)
    assert kept.shown != pair
    assert trusts(kept.bundle, kept.shown.certificate)


def test_a_clock_that_was_set_back_makes_it_wait_anew() -> None:
    kept = Kept(make(NAMES, START), make(NAMES, START), since=START + timedelta(days=3))
    waits = following(kept, NAMES, True, START + timedelta(hours=1))
    assert waits.since == START + timedelta(hours=1)
    assert waits.coming == kept.coming


def test_the_authority_signs_one_certificate_and_its_key_is_kept_nowhere() -> None:
    kept = Kept(make(NAMES, START), since=START)
    assert sum(b"PRIVATE KEY" in (value or "").encode() for value in kept.data().values()) == 0
    assert kept.pem.count(b"BEGIN PRIVATE KEY") == 1
    assert kept.shown is not None
    authority = x509.load_pem_x509_certificate(kept.shown.authority)
    certificate = x509.load_pem_x509_certificate(kept.shown.certificate)
    assert authority.public_key() != certificate.public_key()
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
