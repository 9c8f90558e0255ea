"""A concurrent handler that asks a server and a database with the usual libraries of asyncio."""

from __future__ import annotations

from typing import Any

from ava import Env, worker


@worker("slot_clients", concurrent=True)
async def slot_clients(input: dict[str, Any], env: Env) -> list[Any]:
    """Return what each of them answers."""
    # Not by each node that is started, because they take a quarter of its start.
    import aiohttp
    import asyncpg
    import httpx
    from sqlalchemy import text
    from sqlalchemy.ext.asyncio import create_async_engine

    number = int(input["number"])
    async with httpx.AsyncClient() as client:
        by_httpx = (await client.get(f"{input['url']}/{number}")).text
    env.log.info("httpx %d", number)
    async with aiohttp.ClientSession() as session, session.get(f"{input['url']}/{number}") as response:
        by_aiohttp = await response.text()
    env.log.info("aiohttp %d", number)
    connection = await asyncpg.connect(input["database"], statement_cache_size=0)
    try:
        by_asyncpg = await connection.fetchval("SELECT $1::int FROM pg_sleep(0.2)", number)
    finally:
        await connection.close()
    engine = create_async_engine(input["database"].replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as opened:
        by_sqlalchemy = (await opened.execute(text("SELECT cast(:n AS int)"), {"n": number})).scalar_one()
    await engine.dispose()
    return [by_httpx, by_aiohttp, by_asyncpg, by_sqlalchemy]
