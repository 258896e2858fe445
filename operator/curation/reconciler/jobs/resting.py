"""Finished jobs that a process finds as they should be: a start with 100,000 of them reconciles none."""

import logging

from curation.api.job import CurationJob
from curation.api.reading import Unreadable
from curation.cluster.cache import Stored
from curation.lifecycle.decide import rests
from curation.lifecycle.step import Facts
from curation.reconciler.runtime.context import Context

log = logging.getLogger(__name__)


def is_resting(context: Context, stored: Stored) -> bool:
    """Whether this job, of which this process remembers nothing, has finished and asks for nothing. Never raises."""
    try:
        facts = Facts(now=context.clock.now(), holder=context.settings.holder)
        return rests(stored.parse_once(CurationJob), facts)
    except Unreadable:
        return False  # which is to be reported
    except Exception:
        log.exception("whether %s/%s has anything left to do is not known", stored.namespace, stored.name)
        return False  # its reconciler finds out
