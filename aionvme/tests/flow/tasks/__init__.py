"""The request object as asyncio sees it: a coroutine and a future. Not what the commands do."""
