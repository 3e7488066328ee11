# A client by `websockets`, of Debian's python3-websockets. Prints one line of JSON a step.
import asyncio
import json
import os

import websockets

URL, TOKEN, NEXT = (os.environ[name] for name in ("WS_URL", "TOKEN", "NEXT_TOKEN"))
# Before 14.0 it has another name.
HEADERS = "extra_headers" if int(websockets.__version__.split(".")[0]) < 14 else "additional_headers"


def connect(token=None, **options):
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return websockets.connect(URL, **{HEADERS: headers}, **options)


def say(step, **seen):
    print(json.dumps({"step": step, **seen}), flush=True)


def auth(token):
    return json.dumps({"type": "auth", "token": token})


async def main():
    async with connect(TOKEN) as socket:
        say("header", greeting=await socket.recv())
        await socket.send("token")
        short = await socket.recv()

    async with connect(subprotocols=["bearer", TOKEN]) as socket:
        say("subprotocol", protocol=socket.subprotocol, greeting=await socket.recv())

    try:
        async with connect("bad"):
            say("refusal", status=101)
    except websockets.InvalidHandshake as error:
        say("refusal", status=getattr(error, "status_code", None) or error.response.status_code)

    async with connect() as socket:
        await socket.send(auth(TOKEN))
        say("first message", answer=json.loads(await socket.recv()), greeting=await socket.recv())
        await socket.send(auth(NEXT))
        say("renewal after it", answer=json.loads(await socket.recv()))

    async with connect(subprotocols=["bearer", TOKEN, "ws-auth"]) as socket:
        opening = json.loads(await socket.recv())["type"]
        await socket.recv()
        await socket.send(auth(NEXT))
        say("renewal by offer", protocol=socket.subprotocol, opening=opening, answer=json.loads(await socket.recv()))

    async with connect(short) as socket:
        await socket.recv()
        try:
            await socket.recv()
        except websockets.ConnectionClosed as closed:
            say("expiry", code=closed.rcvd.code, reason=closed.rcvd.reason)


asyncio.run(main())
