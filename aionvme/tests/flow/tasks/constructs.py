"""Owns the table of asyncio's constructs: each a coroutine that waits for its awaitables by one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import attrs

__all__ = ["CONSTRUCTS", "Construct"]


@attrs.frozen
class Construct:
    """One of asyncio's ways to wait.

    Attributes:
        wait: Waits for so many awaitables as `count` says.
        by_task: It makes each a task's own coroutine.
    """

    wait: Callable[..., Coroutine[Any, Any, Any]]
    count: int
    by_task: bool = False

    def __str__(self) -> str:
        return self.wait.__name__.strip("_")


def _task(awaitable: Any) -> asyncio.Task[Any]:
    return asyncio.create_task(awaitable if asyncio.iscoroutine(awaitable) else _await(awaitable))


async def _await(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _gather(*awaitables: Awaitable[Any]) -> Any:
    return await asyncio.gather(*awaitables)


async def _gather_exceptions(*awaitables: Awaitable[Any]) -> Any:
    return await asyncio.gather(*awaitables, return_exceptions=True)


async def _create_task(awaitable: Any) -> Any:
    return await _task(awaitable)


async def _task_group(*awaitables: Any) -> Any:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(a if asyncio.iscoroutine(a) else _await(a)) for a in awaitables]
    return [task.result() for task in tasks]


async def _wait(*awaitables: Any) -> Any:
    tasks = [_task(awaitable) for awaitable in awaitables]
    await asyncio.wait(tasks)
    return [task.exception() or task.result() for task in tasks]


async def _wait_for(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.wait_for(awaitable, 60.0)


async def _timeout(awaitable: Awaitable[Any]) -> Any:
    async with asyncio.timeout(60.0):
        return await awaitable


async def _shield(awaitable: Awaitable[Any]) -> Any:
    return await asyncio.shield(awaitable)


async def _as_completed(*awaitables: Awaitable[Any]) -> Any:
    return [await each for each in asyncio.as_completed(awaitables)]


CONSTRUCTS = (
    Construct(_await, 1),
    Construct(_gather, 2),
    Construct(_gather_exceptions, 2),
    Construct(_create_task, 1, by_task=True),
    Construct(_task_group, 2, by_task=True),
    Construct(_wait, 2, by_task=True),
    Construct(_wait_for, 1),
    Construct(_timeout, 1),
    Construct(_shield, 1),
    Construct(_as_completed, 2),
)
