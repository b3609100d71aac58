"""An account that may have moved, or changed its key, while its task was queued: the directory is asked past
the cache before a host's word, or a signature, ends anything.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from atp.identity import Identity, Resolver
from schemas.dids import DidTask
from schemas.errors import RepoUnavailable, SignatureInvalid
from schemas.job_specs import JobSpec
from schemas.scope import ScopeJudge
from stream_workers.fetch.ending import Ending, Failed, Requeued, failed

_MAX_MOVES = 1
T = TypeVar("T")


async def moved_or_gone(resolver: Resolver, task: DidTask, error: RepoUnavailable) -> Requeued | Failed:
    """A host says that there is no such account: it lives elsewhere, or is gone."""
    identity = await resolver.resolve(task.did, fresh=True)
    return _follow(task, identity) if _has_moved(task, identity) else failed(error)


async def proven(resolver: Resolver, task: DidTask, prove: Callable[[str], Awaitable[T]]) -> T | Requeued:
    """What `prove` makes of the account's key; where its signature does not hold, of the key as it is now.

    Raises SignatureInvalid where the key is no other, and what `prove` and the resolver raise.
    """
    try:
        return await prove(task.signing_key)
    except SignatureInvalid:
        identity = await resolver.resolve(task.did, fresh=True)
        if _has_moved(task, identity):
            return _follow(task, identity)
        if identity.signing_key == task.signing_key:
            raise
        return await prove(identity.signing_key)


def within_scope(ending: Ending, task: DidTask, spec: JobSpec) -> Ending:
    """The ending, unless it leads to a host that lies outside the job's scope."""
    if not isinstance(ending, Requeued) or ending.task.pds == task.pds:
        return ending
    if not ScopeJudge(spec.backfill.scope).excludes(task.did, ending.task.pds):
        return ending
    moved = f"it moved to {ending.task.pds}, which lies outside the job's scope"
    return Failed("skipped", "scope_violation", "scope_violation", moved, host="answered")


def _has_moved(task: DidTask, identity: Identity) -> bool:
    return identity.pds != task.pds and task.moves < _MAX_MOVES


def _follow(task: DidTask, identity: Identity) -> Requeued:
    return Requeued(
        task.model_copy(
            update={
                "pds": identity.pds,
                "signing_key": identity.signing_key,
                "handle": identity.handle,
                "moves": task.moves + 1,
                "not_before": None,
            }
        )
    )
