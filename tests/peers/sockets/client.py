import asyncio
import sys

import websockets

url, key, token, short = sys.argv[1:]
# The parameter has had two names.
new = int(websockets.version.version.split(".")[0]) >= 14
parameter = "additional_headers" if new else "extra_headers"


def connect(token):
    fields = {"X-App-Key": key, "Authorization": f"Bearer {token}"}
    return websockets.connect(url, max_size=None, **{parameter: fields})


async def main():
    async with connect(token) as socket:
        await socket.send("Grüße")
        print("text", await socket.recv() == "Grüße")
        large = bytes(range(256)) * 4096
        await socket.send(large)
        print("large", await socket.recv() == large)
        await socket.send(["in ", "three ", "pieces"])
        print("pieces", await socket.recv())
        await (await socket.ping(b"there?"))
        print("pong")
        await socket.close(1000, "enough")
    print("closed", socket.close_code)
    try:
        async with connect(f"{token}x"):
            print("opened")
    except Exception as error:
        status = getattr(error, "status_code", None) or error.response.status_code
        print("refused", status)
    async with connect(short) as socket:
        await socket.send("still here")
        print(await socket.recv())
        try:
            await socket.recv()
        except websockets.ConnectionClosed:
            print("cut", socket.close_code)


asyncio.run(main())
