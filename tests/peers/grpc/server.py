"""A server of gRPC in clear: every kind of call, and a line for whatever happens to one.

Messages are bytes, so that nothing has to be generated. Says `listening PORT` first.
"""

import threading
from concurrent import futures

import grpc

ENOUGH = 60


def say(*words):
    print(*words, flush=True)


def begun(name, context):
    """Says who calls, and how the call ends unless it ends well."""
    metadata = dict(context.invocation_metadata())
    say(name, "by", metadata.get("x-user", "nobody"))
    return metadata


def unary(message, context):
    metadata = begun("Unary", context)
    context.send_initial_metadata((("first", "early"), ("echo-bin", b"\x00\xff")))
    context.set_trailing_metadata((("last", metadata.get("asked", "")), ("end-bin", b"\xff\x00")))
    return message


def collect(messages, context):
    begun("Collect", context)
    count = size = 0
    for message in messages:
        count, size = count + 1, size + len(message)
    return b"%d messages, %d bytes" % (count, size)


def repeat(message, context):
    begun("Repeat", context)
    for number in range(int(message)):
        yield b"%d" % number


def chat(messages, context):
    begun("Chat", context)
    for message in messages:
        yield b"you said " + message


def fail(_message, context):
    begun("Fail", context)
    context.set_trailing_metadata((("why", "gone"),))
    context.abort(grpc.StatusCode.NOT_FOUND, "not here: 100 % naïve")


def hang(_message, context):
    """Answers nothing, and tells when the caller has gone."""
    begun("Hang", context)
    remaining = context.time_remaining()
    say("Hang has", "a deadline" if remaining is not None and remaining < ENOUGH else "no deadline")
    over = threading.Event()
    context.add_callback(over.set)
    say("Hang is over" if over.wait(ENOUGH) else "Hang was forgotten")
    return b""


def drip(_message, context):
    """One message at once, and no other: tells when the caller has gone."""
    begun("Drip", context)
    over = threading.Event()
    context.add_callback(over.set)
    yield b"first"
    say("Drip is over" if over.wait(ENOUGH) else "Drip was forgotten")


def swallow(messages, context):
    """Takes messages until the caller goes away."""
    begun("Swallow", context)
    context.add_callback(lambda: say("Swallow is over"))
    yield b"ready"
    for _message in messages:
        pass


METHODS = {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Collect": grpc.stream_unary_rpc_method_handler(collect),
    "Repeat": grpc.unary_stream_rpc_method_handler(repeat),
    "Chat": grpc.stream_stream_rpc_method_handler(chat),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Hang": grpc.unary_unary_rpc_method_handler(hang),
    "Drip": grpc.unary_stream_rpc_method_handler(drip),
    "Swallow": grpc.stream_stream_rpc_method_handler(swallow),
}


def main():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=32))
    services = ("peers.Open", "peers.Calls", "peers.Admin", "peers.Narrow")
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, METHODS) for service in services]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    say("listening", port)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
