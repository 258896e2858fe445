"""Pulls modules, each in a child of its own, and says what came of it. For one event loop.

How many pulls run at once, and whose turn it is, is for the caller to say: each holds up to 32 MiB of disk, and its
child 384 MiB of memory at the most.
"""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import IO, Final

from curation.egress.reach import Reach
from curation.isolation.child import Child
from curation.isolation.frames import Frame
from curation.isolation.hardening import Hardening
from curation.oci.frames import FROM_CHILD, TO_CHILD, Done, Failed, PublicKey, Pull
from curation.oci.pull_secret import MAX_SECRET_BYTES
from curation.wasm.module_errors import ModuleLoadError, ModuleReason
from curation.wasm.module_size import MAX_MODULE_BYTES

PULL_SECONDS: Final = 180.0
"""Time of one pull, tries and all."""
DATA_BYTES: Final = 384 << 20
"""Memory that a pull's child may write to: measured, 80 MiB for a module of 18 MB."""

_GRACE_SECONDS: Final = 10.0
_CHILD: Final = "curation.oci.pull_child:main"


@dataclass(frozen=True, slots=True)
class Artifact:
    """What is to be pulled, and for whom."""

    namespace: str
    ref: str
    digest: str
    """Of the manifest."""
    module_digest: str
    secret: bytes | None = None
    """The content of the pull Secret."""
    verify: tuple[PublicKey, ...] = ()
    """Keys of which one must have signed it, beside those that the puller requires of all."""


class PulledModule:
    """A module that was pulled: its bytes, in a file without a name, until `close`."""

    def __init__(self, file: IO[bytes], size: int, signed_by: tuple[str, ...]) -> None:
        self._file = file
        self.size = size
        self.signed_by = signed_by
        """Names of the keys that have signed it, of those that were demanded."""

    def read(self) -> bytes:
        """All of it. Blocking."""
        return os.pread(self._file.fileno(), self.size, 0)

    def close(self) -> None:
        """Free what it takes."""
        self._file.close()


class Puller:
    """Pulls modules."""

    def __init__(
        self,
        *,
        folder: Path | None = None,
        required: Sequence[PublicKey] = (),
        allow: Sequence[IPv4Network | IPv6Network] = (),
        deny: Sequence[IPv4Network | IPv6Network] = (),
        ca_bundle: Path | None = None,
        seconds: float = PULL_SECONDS,
    ) -> None:
        """Files are made in `folder` (None: the system's). One of the `required` keys must have signed every artifact.

        The other options are those of the egress client.
        """
        self._folder = folder
        self._required = tuple(required)
        self._reach = Reach.of(allow, deny, ca_bundle)
        self._seconds = seconds
        self._children: set[Child] = set()

    async def pull(self, artifact: Artifact) -> PulledModule:
        """Pull it. Raises ModuleLoadError, and OSError if no child can be started or its file not be made."""
        if artifact.secret is not None and len(artifact.secret) > MAX_SECRET_BYTES:
            raise ModuleLoadError(ModuleReason.UNAUTHORIZED, f"the pull Secret has more than {MAX_SECRET_BYTES} bytes")
        file = tempfile.TemporaryFile(dir=self._folder)  # noqa: SIM115 - it goes to the caller
        try:
            done = await self._answer(artifact, file.fileno())
            found = await asyncio.to_thread(_digest, file.fileno())
            if found != artifact.module_digest or done.size > MAX_MODULE_BYTES:
                raise ModuleLoadError(ModuleReason.PULL_FAILED, "the pull has left other bytes than it says")
            return PulledModule(file, os.fstat(file.fileno()).st_size, done.signed_by)
        except BaseException:
            file.close()
            raise

    async def close(self) -> None:
        """End all that is under way."""
        for child in tuple(self._children):
            await child.close()

    async def _answer(self, artifact: Artifact, file: int) -> Done:
        answers: list[Frame] = []
        over = asyncio.Event()

        def heard(frame: Frame) -> None:
            answers.append(frame)
            over.set()

        child = Child(
            _CHILD,
            Hardening(data_bytes=DATA_BYTES, nice=5, open_files=64),
            to_child=TO_CHILD,
            from_child=FROM_CHILD,
            on_frame=heard,
        )
        self._children.add(child)
        try:
            child.ended.add_done_callback(lambda _: over.set())
            child.send(self._task(artifact, file))
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), self._seconds + _GRACE_SECONDS)
        finally:
            self._children.discard(child)
            end = await asyncio.shield(asyncio.ensure_future(child.close()))
        if not answers:
            raise ModuleLoadError(ModuleReason.PULL_FAILED, f"the process that pulls has not answered ({end})")
        match answers[0]:
            case Done() as done:
                return done
            case Failed(reason=reason, message=message, may_pass=may_pass):
                raise ModuleLoadError(reason, message, may_pass=may_pass)
        raise AssertionError("the wire carries no other frame")

    def _task(self, artifact: Artifact, file: int) -> Pull:
        return Pull(
            ref=artifact.ref,
            digest=artifact.digest,
            module_digest=artifact.module_digest,
            namespace=artifact.namespace,
            required=self._required,
            verify=artifact.verify,
            reach=self._reach,
            seconds=self._seconds,
            with_secret=artifact.secret is not None,
            payload=artifact.secret or b"",
            descriptors=(file,),
        )


def _digest(file: int) -> str:
    digest = hashlib.sha256()
    at = 0
    while piece := os.pread(file, 1 << 20, at):
        digest.update(piece)
        at += len(piece)
    return f"sha256:{digest.hexdigest()}"
