"""Writes are sent only while the worker may still store their answers."""

from functools import partial

from pco_client.client import PlanningCenter
from servicekit.jobs.worker import JobContext


def guarded(pco: PlanningCenter, job: JobContext, seconds: float) -> PlanningCenter:
    """The client for writes. Before each request it checks that the lease lasts longer than the request's `seconds`.

    An answer after the loss of the lease raises AnsweredTooLate, with the created record.
    """

    async def guard() -> None:
        if job.lease_left() <= seconds:
            # A busy machine renews late in the background, so the loss of the job is noticed here.
            await job.renew()
        job.check(seconds)

    async def answered() -> None:
        if job.lease_left() <= 0:
            # The lease is over by our clock; the database knows whether another worker took the job.
            await job.renew()

    return pco.using(timeout=seconds, guard=guard, check=partial(job.check, seconds), answered=answered)
