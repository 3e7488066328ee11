"""A device that stays connected, by lib/PROTOCOL.md alone: python3 device.py, with WS_URL, TOKEN_URL and DEVICE_KEY."""
import asyncio, json, os, random, sys, time, types
from urllib.error import HTTPError
from urllib.request import Request, urlopen
import websockets

URL, TOKEN_URL, KEY = (os.environ[name] for name in ("WS_URL", "TOKEN_URL", "DEVICE_KEY"))
FINAL = ("forbidden", "origin_forbidden", "disconnected", "connection_replaced", "token_ambiguous")


def ask(url, bearer, method):
    """The status, the body if it is JSON, and how many milliseconds to wait at the least."""
    try:
        with urlopen(Request(url, method=method, headers={"Authorization": f"Bearer {bearer}"}), timeout=10) as answer:
            return answer.status, json.load(answer), 0
    except HTTPError as error:
        is_json = error.headers.get_content_type() == "application/json"
        return error.code, json.load(error) if is_json else {}, 1000 * int(error.headers.get("Retry-After", 0))


async def new_token():
    status, body, _ = await asyncio.to_thread(ask, TOKEN_URL, KEY, "POST")
    if status in (401, 403):
        sys.exit("the key is refused")
    return body["token"]


async def stay(token, end):
    try:
        async with websockets.connect(URL, subprotocols=["bearer", token, "ws-auth"]) as end.socket:
            async for text in end.socket:
                frame = json.loads(text) if text.startswith('{"type":"auth.') else {"type": text}
                print(frame["type"], flush=True)
                if frame["type"] == "auth.renew":
                    await end.socket.send(json.dumps({"type": "auth", "token": await new_token()}))
                end.opened, end.most = True, frame.get("within", end.most)
    except websockets.InvalidHandshake:
        _, body, end.least = await asyncio.to_thread(ask, URL.replace("ws", "http", 1), token, "GET")
        end.reason = body.get("code", "").replace("WS_AUTH_", "").lower()


async def main():
    token, failures, refusals = None, 0, 0
    while True:
        end, began = types.SimpleNamespace(reason="", opened=False, least=0, most=None, socket=None), time.monotonic()
        try:
            token = token or await new_token()
            await stay(token, end)
        except (OSError, asyncio.TimeoutError, websockets.WebSocketException, LookupError, ValueError) as error:
            print(type(error).__name__, flush=True)
        reason = end.reason or getattr(end.socket, "close_reason", None) or ""
        failures = 0 if time.monotonic() - began > 10 else failures + 1
        refusals = refusals + 1 if reason.startswith(("token_", "ticket_")) and not end.opened else 0
        if reason in FINAL or refusals == 2:
            sys.exit("refused: " + reason)
        token = None if reason.startswith(("token_", "ticket_")) else token
        await asyncio.sleep((end.least + random.uniform(0, end.most or min(30_000, 1000 * 2 ** failures))) / 1000)

asyncio.run(main())
