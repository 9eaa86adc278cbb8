from typing import final

from aionvme.qpair.request import Request

@final
class Batch:
    def __call__(self, request: Request) -> None: ...
