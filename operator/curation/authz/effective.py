"""The one Cedar set that a namespace's decisions are made with, and where each of its policies came from."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import cedarpy

from curation.authz.grant import Grant
from curation.authz.source import Source

_POSITIONAL: Final = re.compile(r"policy(\d+)")


@dataclass(frozen=True, slots=True)
class EffectiveSet:
    """Parsed policies; ``origins[i]`` names Cedar's ``policy<i>``.

    It holds from ``since`` until before ``until`` (None: unbounded), the expiries on both sides of when it was made.
    """

    revision: int
    policies: cedarpy.PolicySet
    origins: tuple[str, ...]
    flaws: tuple[str, ...]
    """Objects that do not count as they are written, a sentence each."""
    since: datetime | None
    until: datetime | None

    def covers(self, now: datetime) -> bool:
        """Whether no grant has expired, nor come back by a clock that was set back, since it was made."""
        return (self.since is None or now >= self.since) and (self.until is None or now < self.until)

    def origin_of(self, policy_id: str) -> str:
        """The name of a policy of the set by Cedar's positional id."""
        match = _POSITIONAL.fullmatch(policy_id)
        index = int(match.group(1)) if match else -1
        return self.origins[index] if 0 <= index < len(self.origins) else policy_id

    def named(self, message: str) -> str:
        """A message of Cedar's on one line, with positional ids replaced by names."""
        one_line = " ".join(message.split())
        return re.sub(r"`(policy\d+)`", lambda match: self.origin_of(match.group(1)), one_line)


def build(
    sources: Sequence[Source],
    grants: Sequence[tuple[Grant, str]],
    now: datetime,
    revision: int,
    flaws: Sequence[str] = (),
) -> EffectiveSet:
    """Parse the policies and the unexpired grants (with their Cedar text) into one set.

    Raises ValueError only if Cedar contradicts itself.
    """
    live = [(grant, text) for grant, text in grants if not grant.expired(now)]
    expiries = [grant.expires_at for grant, _ in grants if grant.expires_at is not None]
    since = max((expiry for expiry in expiries if expiry <= now), default=None)
    until = min((expiry for expiry in expiries if expiry > now), default=None)
    # Concatenation cannot merge two texts: each one parses by itself, and a line feed ends a trailing comment. Cedar
    # numbers the policies of one text policy0, policy1, ... in order, which is what origins relies on.
    texts = [source.text for source in sources] + [text for _, text in live]
    origins = [name for source in sources for name in source.origins] + [grant.origin for grant, _ in live]
    parsed = cedarpy.PolicySet.from_str("\n".join(texts))
    if len(parsed) != len(origins):
        raise ValueError(f"Cedar counts {len(parsed)} policies where {len(origins)} were put in force")
    return EffectiveSet(revision, parsed, tuple(origins), tuple(flaws), since, until)
