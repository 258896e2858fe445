"""What is told: one CloudEvent (CloudEvents 1.0, JSON format), and how it is signed."""

import base64
import binascii
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

MIN_KEY_BYTES: Final = 16
MAX_KEY_BYTES: Final = 4096
CONTENT_TYPE: Final = "application/cloudevents+json; charset=utf-8"
_PREFIX: Final = b"whsec_"


class NoticeType(StrEnum):
    """The `type` of the CloudEvent."""

    APPROVAL_PENDING = "dev.curation.approval.pending"
    APPROVAL_DECIDED = "dev.curation.approval.decided"
    APPROVAL_EXPIRING = "dev.curation.approval.expiring"
    APPROVAL_EXPIRED = "dev.curation.approval.expired"
    JOB_FINISHED = "dev.curation.job.finished"


@dataclass(frozen=True, slots=True, eq=False)
class Notice:
    """One event. The same one told again has the same `id`, so that whoever receives it can drop the second."""

    id: str
    type: NoticeType
    namespace: str
    path: str
    """Of the object in the API, the event's `source`."""
    name: str
    """Of the object, the event's `subject`."""
    time: datetime
    data: dict[str, Any]

    def body(self) -> bytes:
        """The CloudEvent as JSON."""
        return json.dumps(
            {
                "specversion": "1.0",
                "id": self.id,
                "type": self.type.value,
                "source": self.path,
                "subject": self.name,
                "time": self.time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                "datacontenttype": "application/json",
                "data": self.data,
            },
            separators=(",", ":"),
        ).encode()


def signing_key(content: bytes) -> bytes:
    """The key of a file: its bytes without a last line break, or what follows ``whsec_`` in base64.

    Raises ValueError with what is wrong with it.
    """
    text = content.strip(b"\r\n")
    if text.startswith(_PREFIX):
        try:
            text = base64.b64decode(text[len(_PREFIX) :], validate=True)
        except binascii.Error:
            raise ValueError("what follows whsec_ is not base64") from None
    if not MIN_KEY_BYTES <= len(text) <= MAX_KEY_BYTES:
        raise ValueError(f"a key has {MIN_KEY_BYTES} to {MAX_KEY_BYTES} bytes, this one has {len(text)}")
    return text


def signed_headers(notice_id: str, body: bytes, key: bytes, now: datetime) -> dict[str, str]:
    """The headers of Standard Webhooks (https://www.standardwebhooks.com): HMAC-SHA256 over id, time and body."""
    seconds = str(int(now.timestamp()))
    content = b".".join((notice_id.encode(), seconds.encode(), body))
    signature = base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()
    return {"webhook-id": notice_id, "webhook-timestamp": seconds, "webhook-signature": f"v1,{signature}"}
