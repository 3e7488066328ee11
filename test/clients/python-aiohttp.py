# A client by `aiohttp`, of Debian's python3-aiohttp. Prints one line of JSON a step.
import asyncio
import json
import os

import aiohttp

URL, TOKEN, NEXT = (os.environ[name] for name in ("WS_URL", "TOKEN", "NEXT_TOKEN"))


def say(step, **seen):
    print(json.dumps({"step": step, **seen}), flush=True)


async def main():
    async with aiohttp.ClientSession() as session:
        def connect(token=None, protocols=()):
            headers = {} if token is None else {"Authorization": f"Bearer {token}"}
            return session.ws_connect(URL, headers=headers, protocols=protocols)

        async with connect(TOKEN) as socket:
            say("header", greeting=await socket.receive_str())
            await socket.send_str("token")
            short = await socket.receive_str()

        async with connect(protocols=("bearer", TOKEN)) as socket:
            say("subprotocol", protocol=socket.protocol, greeting=await socket.receive_str())

        try:
            async with connect("bad"):
                say("refusal", status=101)
        except aiohttp.WSServerHandshakeError as error:
            say("refusal", status=error.status)

        async with connect() as socket:
            await socket.send_json({"token": TOKEN, "type": "auth"})
            say("first message", answer=await socket.receive_json(), greeting=await socket.receive_str())
            await socket.send_json({"token": NEXT, "type": "auth"})
            say("renewal after it", answer=await socket.receive_json())

        async with connect(protocols=("bearer", TOKEN, "ws-auth")) as socket:
            opening = (await socket.receive_json())["type"]
            await socket.receive_str()
            await socket.send_json({"token": NEXT, "type": "auth"})
            say("renewal by offer", protocol=socket.protocol, opening=opening, answer=await socket.receive_json())

        async with connect(short) as socket:
            await socket.receive_str()
            closed = await socket.receive()
            say("expiry", code=closed.data, reason=closed.extra)


asyncio.run(main())
