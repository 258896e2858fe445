"""What a pull's process runs: one pull, then its end. `puller` starts it."""

import asyncio
import os
import resource
import socket
from typing import Final

from curation.api.clipping import clip
from curation.isolation.blocking import BlockingChannel
from curation.isolation.hardening import limit
from curation.oci.frames import FROM_CHILD, TO_CHILD, Done, Failed, PublicKey, Pull
from curation.oci.pull import Pulled, pull
from curation.oci.pull_secret import BadPullSecret, PullSecret
from curation.oci.reference import Reference
from curation.oci.session import Session
from curation.oci.signatures import BadKey, Key
from curation.wasm.module_errors import ModuleLoadError, ModuleReason
from curation.wasm.module_size import MAX_MODULE_BYTES

CPU_SECONDS: Final = 60
"""Processor time: measured, 0.7 s for a module of 18 MB, most of it to start."""
_MAX_MESSAGE: Final = 1024


def main(channel: socket.socket) -> None:
    """Pulls what the first frame says, and answers."""
    limit(resource.RLIMIT_CPU, CPU_SECONDS, hard=True)
    limit(resource.RLIMIT_FSIZE, MAX_MODULE_BYTES, hard=True)
    frames = BlockingChannel(channel, outgoing=FROM_CHILD, incoming=TO_CHILD)
    task = frames.receive()
    if not isinstance(task, Pull) or len(task.descriptors) != 1:
        return
    try:
        pulled = asyncio.run(_pulled(task))
        with os.fdopen(task.descriptors[0], "wb") as file:
            file.write(pulled.content)
        frames.send(Done(size=len(pulled.content), signed_by=pulled.signed_by))
    except ModuleLoadError as error:
        message = clip("".join(char if char.isprintable() else " " for char in error.message), _MAX_MESSAGE)
        frames.send(Failed(reason=error.reason, message=message, may_pass=error.may_pass))


async def _pulled(task: Pull) -> Pulled:
    try:
        reference = Reference.parse(task.ref)
    except ValueError as error:
        raise ModuleLoadError(ModuleReason.INVALID, f"spec.source.oci.ref: {error}") from None
    try:
        secret = PullSecret(task.payload) if task.with_secret else None
    except BadPullSecret as error:
        raise ModuleLoadError(
            ModuleReason.UNAUTHORIZED, f"the Secret of spec.source.oci.pullSecretRef: {error}"
        ) from None
    demands = [demand for demand in (_keys(task.required), _keys(task.verify)) if demand]
    client = task.reach.client()
    try:
        async with asyncio.timeout(task.seconds):
            return await pull(
                Session(client, reference, secret), task.digest, task.module_digest, demands, task.seconds
            )
    except TimeoutError:
        raise ModuleLoadError(
            ModuleReason.PULL_FAILED, f"pulling from {reference.registry} takes more than {task.seconds:g} s"
        ) from None
    finally:
        await client.close()


def _keys(given: tuple[PublicKey, ...]) -> list[Key]:
    found = []
    for each in given:
        try:
            found.append(Key.read(each.name, each.pem))
        except BadKey as error:
            raise ModuleLoadError(ModuleReason.INVALID, f"the public key {each.name}: {error}") from None
    return found
