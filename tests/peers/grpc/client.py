"""A client of gRPC: makes one call of each kind and says what came of it, a line for each.

client.py TARGET AUTHORITY KEY TOKEN; AUTHORITY is a file, or `clear`.
"""

import queue
import sys
import threading

import grpc

TARGET, AUTHORITY, KEY, TOKEN = sys.argv[1:]
SIGNED = (("x-app-key", KEY), ("authorization", f"Bearer {TOKEN}"))
ENOUGH = 30
LARGE = 3_000_000


def open_channel():
    if AUTHORITY == "clear":
        return grpc.insecure_channel(TARGET)
    with open(AUTHORITY, "rb") as file:
        credentials = grpc.ssl_channel_credentials(file.read())
    name = (("grpc.ssl_target_name_override", "gw.test"),)
    return grpc.secure_channel(TARGET, credentials, options=name)


CHANNEL = open_channel()


def unary(method):
    return CHANNEL.unary_unary(method)


def metadata(pairs):
    return {key: value for key, value in pairs if key in ("first", "echo-bin", "last", "end-bin", "why")}


def say(*words):
    print(*words, flush=True)


def say_failure(name, call):
    """What came of a call that must not succeed."""
    try:
        answer = call()
        say(name, "succeeded with", answer)
    except grpc.RpcError as error:
        say(name, error.code().name, error.details())


def calls():
    call = unary("/peers.Calls/Unary")
    answer, done = call.with_call(b"hello", metadata=SIGNED + (("asked", "and told"),), timeout=ENOUGH)
    say("unary", answer, metadata(done.initial_metadata()), metadata(done.trailing_metadata()))
    say("empty", call(b"", metadata=SIGNED, timeout=ENOUGH))
    large = bytes(range(256)) * (LARGE // 256)
    say("large", call(large, metadata=SIGNED, timeout=ENOUGH) == large)
    say("open", unary("/peers.Open/Unary")(b"anybody", timeout=ENOUGH))

    collect = CHANNEL.stream_unary("/peers.Calls/Collect")
    parts = (b"x" * size for size in range(1_000))
    say("client stream", collect(parts, metadata=SIGNED, timeout=ENOUGH))
    say("no client stream", collect(iter(()), metadata=SIGNED, timeout=ENOUGH))

    repeat = CHANNEL.unary_stream("/peers.Calls/Repeat")
    numbers = [int(number) for number in repeat(b"1000", metadata=SIGNED, timeout=ENOUGH)]
    say("server stream", len(numbers), numbers == list(range(1_000)))
    say("no server stream", list(repeat(b"0", metadata=SIGNED, timeout=ENOUGH)))

    say("bidirectional", chat())
    failing = unary("/peers.Calls/Fail")
    try:
        failing(b"", metadata=SIGNED, timeout=ENOUGH)
    except grpc.RpcError as error:
        say("failure", error.code().name, error.details(), metadata(error.trailing_metadata()))
    say_failure("unknown", lambda: unary("/peers.Calls/Unknown")(b"", metadata=SIGNED, timeout=ENOUGH))


def chat():
    """Each message is sent only once the one before was answered: nothing may wait for more."""
    said = queue.Queue()
    call = CHANNEL.stream_stream("/peers.Calls/Chat")
    answers = call(iter(said.get, None), metadata=SIGNED, timeout=ENOUGH)
    heard = []
    for word in (b"a", b"b", b"c"):
        said.put(word)
        heard.append(next(answers))
    said.put(None)
    return heard + list(answers)


def ends():
    hang = unary("/peers.Calls/Hang")
    try:
        say("deadline missed by", hang(b"", metadata=SIGNED, timeout=0.5))
    except grpc.RpcError as error:
        # Whether the client or the gateway was the first to say so is told by the details only.
        say("deadline", error.code().name)

    drip = CHANNEL.unary_stream("/peers.Calls/Drip")(b"", metadata=SIGNED)
    say("dripped", next(drip))
    drip.cancel()
    say_failure("cancelled", lambda: next(drip))

    more = threading.Event()

    def endless():
        while not more.is_set():
            yield b"x" * 1_000

    swallow = CHANNEL.stream_stream("/peers.Calls/Swallow")(endless(), metadata=SIGNED)
    say("swallowing", next(swallow))
    swallow.cancel()
    more.set()
    say_failure("cancelled upload", lambda: next(swallow))


def refusals():
    def refused(name, service, sent, method="Unary"):
        say_failure(name, lambda: unary(f"/peers.{service}/{method}")(b"hi", metadata=sent, timeout=ENOUGH))

    refused("without credentials", "Calls", ())
    refused("without a token", "Calls", SIGNED[:1])
    refused("with a wrong key", "Calls", (("x-app-key", "wrong"), SIGNED[1]))
    refused("with a wrong token", "Calls", (SIGNED[0], ("authorization", f"Bearer {TOKEN}x")))
    refused("without a permission", "Admin", SIGNED)
    refused("where nothing is", "Nowhere", SIGNED)
    refused("where nobody listens", "Down", SIGNED)

    stream = CHANNEL.stream_stream("/peers.Calls/Chat")
    say_failure("a stream without credentials", lambda: list(stream(iter((b"a", b"b")), timeout=ENOUGH)))
    say_failure("an open end", lambda: next(stream(iter(queue.Queue().get, None), timeout=ENOUGH)))

    # The one place of `narrow` is taken by a call that goes on.
    drip = CHANNEL.unary_stream("/peers.Narrow/Drip")(b"", metadata=SIGNED)
    next(drip)
    refused("where there is no room", "Narrow", SIGNED)
    drip.cancel()
    say("again", unary("/peers.Calls/Unary")(b"still here", metadata=SIGNED, timeout=ENOUGH))


calls()
ends()
refusals()
CHANNEL.close()
say("done")
