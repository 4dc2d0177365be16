"""The same objects with asyncio: take a run and watch what happens in it.

python watch_async.py
"""

import asyncio

import libecs

lab = libecs.workflow("hello", tasks={"clock": libecs.task("sleep 1000", mode="basic")})


async def watch(env) -> None:
    async for event in env.events():
        if event.kind in ("environment.state", "run.end"):
            print(event.kind, event.state, event.text)


async def main() -> None:
    async with libecs.local() as ecs, ecs.environment(lab, target="DEPLOYED") as env:
        watching = asyncio.create_task(watch(env))
        async with env.run(duration="300ms") as run:
            await run.wait()
        print("run", run.number, run.condition)
        watching.cancel()


asyncio.run(main())
