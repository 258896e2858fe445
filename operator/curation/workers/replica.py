"""What is in force in one namespace, said to its worker: what is new since the last time, then the revision."""

import json
import logging
from collections.abc import Iterator

from curation.authz.check_result import PolicyCheck
from curation.authz.grant import grant_of_wire, grant_to_wire
from curation.authz.register import InForce, PolicyRegister
from curation.isolation.frames import Frame
from curation.workers.frames import Flaw, GrantGone, Policy, PolicyGone, PutGrant, Revision

log = logging.getLogger(__name__)


class Replica:
    """The operator's side: what one worker was told."""

    def __init__(self, book: PolicyRegister, namespace: str) -> None:
        self._book = book
        self._namespace = namespace
        self._told: dict[bool, InForce] = {True: InForce(), False: InForce()}
        self.revision = -1
        """That the worker was told of last."""

    def news(self) -> Iterator[Frame]:
        """What the worker is still to be told, the revision last; nothing if it was told all."""
        revision = self._book.revision(self._namespace)
        if revision == self.revision:
            return
        for cluster in (True, False):
            now = self._book.in_force(None if cluster else self._namespace)
            before, self._told[cluster] = self._told[cluster], now
            yield from _changes(cluster, before, now)
        self.revision = revision
        yield Revision(number=revision)


def apply(book: PolicyRegister, namespace: str, frame: Frame) -> None:
    """The worker's side: put it in force, or out of it."""
    match frame:
        case Policy():
            check = PolicyCheck(True, frame.count, "Valid", "")
            book.put_checked(
                None if frame.cluster else namespace,
                frame.name,
                frame.payload.decode(errors="surrogatepass"),
                check,
                cancel_only=frame.cancel_only,
                forbids_only=frame.forbids_only,
            )
        case PolicyGone(cluster=cluster, name=name):
            book.remove_policy(None if cluster else namespace, name)
        case Flaw(cluster=cluster, name=name):
            book.note_flaw(None if cluster else namespace, name, frame.payload.decode(errors="replace"))
        case PutGrant():
            grant = grant_of_wire(namespace, json.loads(frame.payload))
            try:
                book.put_grant(grant)
            except ValueError as error:
                log.error("%s cannot be expressed in Cedar, so it does not count: %s", grant.origin, error)
                book.remove_grant(namespace, grant.key)
        case GrantGone(name=name):
            book.remove_grant(namespace, name)
        case _:
            raise AssertionError(f"{type(frame).__name__} puts nothing in force")


def _changes(cluster: bool, before: InForce, now: InForce) -> Iterator[Frame]:
    # A policy is taken out of force with its flaw, so what is gone comes first.
    for name in before.policies.keys() - now.policies.keys():
        yield PolicyGone(cluster=cluster, name=name)
    for name in before.grants.keys() - now.grants.keys():
        yield GrantGone(name=name)
    for name, source in now.policies.items():
        if before.policies.get(name) is not source:
            yield Policy(
                cluster=cluster,
                name=name,
                count=source.check.count,
                cancel_only=source.cancel_only,
                forbids_only=source.forbids_only,
                payload=source.given.encode(errors="surrogatepass"),
            )
    for name in before.flaws.keys() | now.flaws.keys():
        flaw = now.flaws.get(name, "")
        if flaw != before.flaws.get(name, "") or (flaw and name in before.policies.keys() - now.policies.keys()):
            yield Flaw(cluster=cluster, name=name, payload=flaw.encode(errors="replace"))
    for name, grant in now.grants.items():
        if before.grants.get(name) != grant:
            yield PutGrant(name=name, payload=json.dumps(grant_to_wire(grant)).encode())
