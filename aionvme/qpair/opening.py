"""What opens: awaited for the open object, or entered by `async with`, which closes it at the end."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar


class _Closable(Protocol):
    def close(self) -> Awaitable[Any]: ...


T = TypeVar("T", bound=_Closable)


class Opening(Generic[T]):
    """Not yet open: `await` it, or enter it once with `async with`.

    One that is dropped without either warns, as a coroutine does that was never awaited.
    """

    _begun = True  # until it is made

    def __init__(self, open_it: Callable[[], Coroutine[Any, Any, T]], name: str) -> None:
        self._open_it = open_it
        self._name = name
        self._opened: T | None = None
        self._begun = False

    def __await__(self) -> Generator[Any, None, T]:
        self._begun = True
        return self._open_it().__await__()

    async def __aenter__(self) -> T:
        self._begun = True
        self._opened = await self._open_it()
        return self._opened

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        if self._opened is not None:
            await self._opened.close()

    if not TYPE_CHECKING:  # They know that there are no such attributes.

        def __getattr__(self, name: str) -> None:
            raise AttributeError(
                f"{self!r} has no {name!r}: it is not open yet; `await` it, or enter it by `async with`",
                name=name,
                obj=self,
            )

        def __enter__(self) -> None:
            self._begun = True  # It is told here already that it was not awaited.
            raise TypeError(f"{self!r} is entered by `async with`, not by `with`")

        def __exit__(self, *exc_info: object) -> None:
            """Never reached, as `__enter__` raises: Python looks for it first."""

    def __repr__(self) -> str:
        return f"<Opening of {self.__dict__.get('_name', 'nothing')}>"

    def __del__(self, _warn: Any = warnings.warn) -> None:
        if not self._begun:
            _warn(f"{self._name} was never awaited", RuntimeWarning, source=self)
