"""llama.cpp with several tiny models, of which one is in memory at a time: what an Ollama is on a small GPU.

Each switch loads a file through llama.cpp, each answer is computed by it, and what it answers on /v1 is passed on as it came.
Calls go in the order in which they come, as many at once as there are slots; another model than the loaded one waits until
all that run have ended, and whoever comes after it waits too. Who leaves while he waits is passed over. /api is a thin mapping to /v1; --no-api leaves it out. --bare
gives the first model's own llama.cpp server, with nothing in front of it.
"""

import argparse
import collections
import contextlib
import http.client
import http.server
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time

import xllamacpp

import tiny_model

TOKENS = 16


class Engine:
    """One model in memory; turns in the order in which they are asked for."""

    def __init__(self, files, slots, load_delay):
        self.files, self.slots, self.load_delay = files, slots, load_delay
        self.lock = threading.Lock()
        self.waiting = collections.deque()
        self.loaded, self.server, self.busy, self.loading, self.switches = None, None, 0, False, 0

    @contextlib.contextmanager
    def turn(self, model, has_left):
        """The address of the server of that model, and how long it took to load for this call. Who has left gets no turn."""
        ticket = {"model": model, "has_left": has_left, "granted": threading.Event(), "loads": False, "passed_over": False}
        with self.lock:
            self.waiting.append(ticket)
            self.grant()
        ticket["granted"].wait()
        if ticket["passed_over"]:
            raise ConnectionAbortedError
        try:
            took = self.load(model) if ticket["loads"] else 0.0
            yield self.server.listening_address.removeprefix("http://"), took
        finally:
            with self.lock:
                self.busy -= 1
                self.grant()

    def grant(self):
        while self.waiting and not self.loading:
            first = self.waiting[0]
            if first["has_left"]():
                first["passed_over"] = True
                self.waiting.popleft()
                first["granted"].set()
                continue
            if first["model"] != self.loaded:
                if self.busy:
                    return
                self.loading, self.loaded, first["loads"] = True, first["model"], True
            elif self.busy >= self.slots:
                return
            self.waiting.popleft()
            self.busy += 1
            first["granted"].set()

    def load(self, model):
        began = time.monotonic()
        self.server = None
        time.sleep(self.load_delay)
        try:
            self.server = start(self.files[model], self.slots)
        finally:
            with self.lock:
                self.loading = False
                self.loaded = model if self.server else None
                self.switches += 1
                self.grant()
        return time.monotonic() - began


def start(file, slots):
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.n_parallel, params.n_ctx, params.n_gpu_layers = slots, 4096 * slots, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.warmup, params.fit_params, params.ui, params.cache_ram_mib, params.port = False, False, False, 0, 0
    params.n_threads_http = 8
    # Answers are as long as they are asked to be.
    params.sampling.ignore_eos = True
    return xllamacpp.Server(params)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    engine: Engine
    api = True

    def log_message(self, *_):
        pass

    def do_GET(self):
        models = list(self.engine.files)
        if self.path == "/v1/models":
            return self.say(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in models]})
        if self.api and self.path in ("/", "/api/version"):
            return self.say(200, {"version": f"xllamacpp {xllamacpp.__version__}"})
        if self.api and self.path == "/api/tags":
            return self.say(200, {"models": [{"name": f"{name}:latest", "model": f"{name}:latest"} for name in models]})
        if self.api and self.path == "/api/ps":
            held = [self.engine.loaded] if self.engine.server else []
            return self.say(200, {"models": [{"name": f"{name}:latest", "model": f"{name}:latest"} for name in held]})
        if self.path == "/switches":
            return self.say(200, self.engine.switches)
        self.say(404, self.error("not found"))

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        served = {"/v1/chat/completions": self.pass_on}
        if self.api:
            served |= {"/api/generate": self.generate, "/api/chat": self.chat}
        if self.path not in served:
            return self.say(404, self.error("not found"))
        try:
            asked = json.loads(body)
            model = str(asked["model"]).removesuffix(":latest")
        except (ValueError, KeyError, TypeError):
            return self.say(400, self.error("model is required"))
        if model not in self.engine.files:
            return self.say(404, self.error(f"model '{model}' not found"))
        with self.engine.turn(model, self.has_left) as (address, took):
            served[self.path](address, took, asked, body)

    def has_left(self):
        try:
            return not self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def pass_on(self, address, _took, _asked, body):
        with answered(address, body) as answer:
            streams = answer.getheader("content-type", "").startswith("text/event-stream")
            if not streams:
                return self.send(answer.status, answer.getheader("content-type"), answer.read())
            self.begin_stream("text/event-stream")
            while piece := answer.read1(1 << 16):
                self.chunk(piece)
            self.chunk(b"")

    def chat(self, address, took, asked, _body):
        self.native(address, took, asked, asked.get("messages") or [])

    def generate(self, address, took, asked, _body):
        prompt = asked.get("prompt")
        self.native(address, took, asked, [{"role": "user", "content": prompt}] if prompt else [])

    def native(self, address, took, asked, messages):
        name, began = asked["model"], time.monotonic()

        def line(text, **more):
            said = {"message": {"role": "assistant", "content": text}} if self.path == "/api/chat" else {"response": text}
            return {"model": name, "created_at": "2026-01-01T00:00:00Z", **said, "done": False, **more}

        def last(text, reason, prompt_tokens=0, tokens=0):
            load = int(took * 1e9)
            total = int((time.monotonic() - began) * 1e9) + load
            return line(text, done=True, done_reason=reason, total_duration=total, load_duration=load,
                        prompt_eval_count=prompt_tokens, eval_count=tokens)  # fmt: skip

        if not messages:
            return self.say(200, last("", "load"))
        options = asked.get("options") or {}
        stream = asked.get("stream", True)
        call = {"messages": messages, "max_tokens": options.get("num_predict", TOKENS), "stream": stream}
        with answered(address, json.dumps(call).encode()) as answer:
            if answer.status != 200:
                return self.say(answer.status, {"error": answer.read().decode(errors="replace")})
            if not stream:
                said = json.load(answer)
                usage, choice = said["usage"], said["choices"][0]
                text = choice["message"]["content"]
                return self.say(200, last(text, "length", usage["prompt_tokens"], usage["completion_tokens"]))
            self.begin_stream("application/x-ndjson")
            timings = {}
            for event in answer:
                data = event.removeprefix(b"data: ").strip()
                if not data or data == b"[DONE]":
                    continue
                said = json.loads(data)
                timings = said.get("timings") or timings
                if text := said["choices"][0]["delta"].get("content"):
                    self.chunk(json.dumps(line(text)).encode() + b"\n")
            counts = timings.get("prompt_n", 0) + timings.get("cache_n", 0), timings.get("predicted_n", 0)
            self.chunk(json.dumps(last("", "length", *counts)).encode() + b"\n")
            self.chunk(b"")

    def error(self, message):
        return {"error": message if self.path.startswith("/api/") else {"message": message, "type": "not_found_error"}}

    def say(self, status, value):
        self.send(status, "application/json", json.dumps(value).encode())

    def send(self, status, kind, body):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def begin_stream(self, kind):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, piece):
        self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        self.wfile.flush()


@contextlib.contextmanager
def answered(address, body):
    """Closed however it ends: llama.cpp stops computing for whoever has left."""
    connection = http.client.HTTPConnection(address)
    try:
        connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
        yield connection.getresponse()
    finally:
        connection.close()


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def handle_error(self, request, client_address):
        # Clients leave whenever they like; everything else is to be seen.
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", default="a,b,c")
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--load-delay", type=float, default=0.0, help="seconds that weights take from the disk")
    parser.add_argument("--no-api", action="store_true")
    parser.add_argument("--bare", action="store_true")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    # llama.cpp writes its log to both; only the address belongs there.
    output = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def tell(url):
        os.write(output, json.dumps({"url": url}).encode() + b"\n")

    with tempfile.TemporaryDirectory() as home:
        files = {name: os.path.join(home, f"{seed}.gguf") for seed, name in enumerate(options.models.split(","))}
        for seed, file in enumerate(files.values()):
            tiny_model.write(file, seed)
        if options.bare:
            server = start(next(iter(files.values())), options.slots)
            tell(server.listening_address)
            signal.pause()
        Handler.engine, Handler.api = Engine(files, options.slots, options.load_delay), not options.no_api
        with Server(("127.0.0.1", 0), Handler) as server:
            tell("http://%s:%d" % server.server_address)
            server.serve_forever()


if __name__ == "__main__":
    main()
