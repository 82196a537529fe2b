"""parloop_bridge.py - between the plugin (bridge.c) and an engine that has to be spoken to in Python.

The plugin starts it with a socket as standard input.  What goes by that are messages: a head of 24
bytes (kind, n, id, size of the body), then a body.  Options come by it too, since they may be secret.
Batches are bytes, and nobody here looks into them: the engine runs parloop_far_side.py in its workers,
which has them run by parloop.  The end of the socket, or of the process that started this, is the end.
"""
import hashlib
import json
import os
import queue
import select
import socket
import struct
import sys
import threading
import time
import uuid

HEAD = struct.Struct("=IiQQ")
# From the plugin: begin, with these options; serve an instance; none, for the time being; what batches
# may need; that is not needed any more; a batch; kill the process that runs it; give all back.
OPEN, LEASE, RELEASE, BLOB, DROP, SUBMIT, KILL, ABORT = range(1, 9)
# To it: there are n workers; it cannot be; a piece of an answer; a batch is over, n says how; worker n,
# on that host, is the one whose answer comes.
WORKERS, REFUSE, ANSWER, DONE, RUNS_AT = range(16, 21)
BLOB_HEAD = struct.Struct("=ii32s")
HOW = struct.Struct("=iii")
STATUS = {"ok": 0, "lost": 1, "aborted": 2, "failed": 3}
KILLED = 9
LARGE = 1 << 20  # bytes of a batch, or more: they do not go by way of a scheduler
CONNECT_S = 30  # more than wait_for_workers, at most
END_S = 4
ENDING_S = 0.2
LOOK_S = 0.5  # between two looks at how many workers there are
FOLDER = os.path.dirname(os.path.abspath(__file__))

with open(os.path.join(FOLDER, "parloop_far_side.py")) as _file:
    SOURCE = _file.read()
FAR = "parloop_far_side_" + hashlib.sha256(SOURCE.encode()).hexdigest()[:16]


def install(name, source):
    """The far side, as a module of whichever process this is."""
    import sys
    import types
    if name not in sys.modules:
        module = types.ModuleType(name)
        exec(compile(source, name, "exec"), module.__dict__)
        sys.modules.setdefault(name, module)
    return sys.modules[name].here


class Refused(Exception):
    def __init__(self, reason, remedy=""):
        super().__init__(reason)
        self.remedy = remedy


def need(module, package):
    try:
        return __import__(module)
    except ImportError as error:
        raise Refused("%s cannot import %s: %s" % (sys.executable, module, error),
                      "install %s there, or name an interpreter that has it with the option python "
                      "or $PARLOOP_PYTHON" % package)


def pairs(text):
    """"GPU=1 memory=2" as a dictionary of numbers."""
    try:
        return {key: float(value) for key, value in (part.split("=") for part in text.split())}
    except ValueError:
        raise Refused("resources are NAME=NUMBER ..., not \"%s\"" % text)


def address_of(options, variable):
    """Where the engine is: the option, a file, or the environment."""
    path = options.get("address_file", "")
    if options.get("address") or not path:
        return options.get("address") or os.environ.get(variable, "")
    try:
        with open(path) as file:
            text = file.read().strip()
    except OSError as error:
        raise Refused("address_file: %s" % error.strerror)
    return json.loads(text)["address"] if text.startswith("{") else text.split("\n")[0]


# --- engines: connect, workers, put, drop, submit, kill, abort, close -------------------------------

class Engine:
    """What they have in common: batches that are out, each with what the engine calls its future."""

    def __init__(self, bridge):
        self.bridge, self.futures = bridge, {}
        self.lost = 0  # how often data may have gone with a worker

    def over(self, batch, future):
        if self.futures.pop(batch.id, None) is None:
            return  # it was given up
        try:
            outcome = future.result()
        except BaseException as error:
            self.lost += 1
            text = str(error).strip() or type(error).__name__
            self.bridge.end(batch, "lost", text.split("\n")[-1], KILLED)
        else:
            self.bridge.over(batch, outcome)

    def give_up(self, batches):
        futures = [self.futures.pop(batch.id, None) for batch in batches]
        return [future for future in futures if future is not None]


class StandIn(Engine):
    """Threads of this process in place of an engine's workers, to test all else without one."""

    def __init__(self, options, bridge):
        import concurrent.futures
        super().__init__(bridge)
        self.side, self.content = install(FAR, SOURCE), {}
        self.n = int(options.get("stand_in_workers") or "2")
        self.pool = concurrent.futures.ThreadPoolExecutor(16)
        self.gate, self.busy = threading.Condition(), 0  # of those threads so many work

    def count(self):
        path = os.environ.get("PARLOOP_STAND_IN_WORKERS")  # a test changes it while it runs
        if path:
            with open(path) as file:
                self.n = int(file.read())
        return self.n

    def workers(self):
        with self.gate:
            self.gate.notify_all()
        return self.count()

    def put(self, key, content, is_file):
        self.content[key] = content

    def drop(self, key):
        del self.content[key]

    def submit(self, batch):
        future = self.futures[batch.id] = self.pool.submit(self.run, batch)
        future.add_done_callback(lambda future: self.over(batch, future))

    def run(self, batch):
        with self.gate:
            self.gate.wait_for(lambda: self.busy < self.count())
            self.busy += 1
        try:
            if batch.id in self.bridge.batches:  # nobody has given it up meanwhile
                return self.side.run(batch.job, batch.data, self.content.__getitem__,
                                     lambda *told: self.bridge.tell(batch.id, *told),
                                     lambda waits, worker: None)
        finally:
            with self.gate:
                self.busy -= 1
                self.gate.notify_all()

    def kill(self, batch):
        self.side.kill(self.bridge.session, [batch.id])

    def abort(self, batches):
        for future in self.give_up(batches):
            future.cancel()
        self.side.kill(self.bridge.session, [batch.id for batch in batches])

    def close(self):
        self.side.kill_all(self.bridge.session)
        self.side.forget(self.bridge.session)


def dask_errand(name, job, data, keys, *contents):
    import os
    import sys
    import distributed
    worker = distributed.get_worker()
    came, has_left = dict(zip(keys, contents)), []
    # A call inside is let in by what this worker was let in by; our files are not here.
    tls = zip(("CA_FILE", "CLIENT__CERT", "CLIENT__KEY"),
              (worker.security.tls_ca_file, worker.security.tls_worker_cert, worker.security.tls_worker_key))
    tls = {"DASK_DISTRIBUTED__COMM__TLS__" + key: path for key, path in tls if path and os.path.exists(path)}
    job = job[:6] + (dict(job[6], **tls),)

    def fetch(key):
        return came[key] if key in came else worker.plugins["parloop-" + key].content

    def tell(*told):
        worker.log_event("parloop-" + job[0], (job[1],) + told)

    def pause(waits, _):
        """Others have its thread from then on.  To get one back it might have to wait for ever."""
        if waits and not has_left:
            has_left.append(True)
            distributed.secede()

    return tuple(sys.modules[name].here.run(job, data, fetch, tell, pause))


def dask_tell(name, method, *words):
    import sys
    if name in sys.modules:
        getattr(sys.modules[name].here, method)(*words)


class Dask(Engine):
    def __init__(self, options, bridge):
        super().__init__(bridge)
        self.distributed = need("distributed", "distributed (python3-distributed)")
        address = address_of(options, "DASK_SCHEDULER_ADDRESS")
        if not address:
            raise Refused("it is not said where the scheduler is", "set the option address, "
                          "address_file (of dask scheduler --scheduler-file) or "
                          "$DASK_SCHEDULER_ADDRESS")
        bridge.secrets.append(address)
        tls = {key: options[key] for key in ("tls_ca_file", "tls_client_cert", "tls_client_key")
               if options.get(key)}
        security = self.distributed.Security(require_encryption=True, **tls) if tls else None
        import logging
        logging.getLogger("distributed").setLevel(logging.CRITICAL)
        try:
            self.client = self.distributed.Client(address, security=security, set_as_default=False,
                                                  timeout=bridge.wait_s, name="parloop")
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise Refused("cannot connect to the scheduler: %s" % error,
                          "see whether it runs, and whether the address is right")
        # The worker that a nested call is made on finds the same scheduler.
        bridge.environment["DASK_SCHEDULER_ADDRESS"] = address
        self.extra = {}
        if options.get("workers"):
            self.extra.update(workers=options["workers"].split(), allow_other_workers=False)
        if options.get("resources"):
            self.extra["resources"] = pairs(options["resources"])
        self.extra["retries"] = int(options.get("retries") or 0)
        self.client.subscribe_topic("parloop-" + bridge.session, self.hear)
        self.scattered, self.plugins = {}, []
        self.deliver("", b"")

    def hear(self, event):
        _, told = event
        self.bridge.tell(*told)

    def workers(self):
        if self.client.status != "running":
            return 0
        return sum(self.client.nthreads(self.extra.get("workers")).values())

    def deliver(self, key, content):
        """To all workers, and to those that come later; the far side itself first."""
        far, source, install_it = FAR, SOURCE, install

        class Delivery(self.distributed.WorkerPlugin):
            def setup(self, worker):
                self.content = content
                install_it(far, source)

            def teardown(self, worker):
                self.content = b""

        plugin = Delivery()
        plugin.name = "parloop-" + (key or self.bridge.session)
        register = getattr(self.client, "register_plugin", None)
        if register is not None:
            register(plugin)
        else:
            self.client.register_worker_plugin(plugin, plugin.name)
        self.plugins.append(plugin.name)

    def scatter(self, content):
        return self.client.scatter([content], hash=False)[0]

    def put(self, key, content, is_file):
        if is_file:
            self.deliver(key, content)
        else:
            self.scattered[key] = content, None, -1

    def drop(self, key):
        self.scattered.pop(key, None)

    def find(self, key):
        """What lay on a worker that is gone is scattered once more."""
        content, future, when = self.scattered[key]
        if future is None or when < self.lost or future.status != "finished":
            future = self.scatter(content)
            self.scattered[key] = content, future, self.lost
        return future

    def submit(self, batch):
        keys = [blob[0] for blob in batch.job[4] if blob[0] in self.scattered]
        contents = [self.find(key) for key in keys]
        data = batch.data if len(batch.data) < LARGE else self.scatter(batch.data)
        future = self.futures[batch.id] = self.client.submit(
            dask_errand, FAR, batch.job, data, keys, *contents, pure=False,
            key="%s-x%d-%s" % (batch.name.replace("-", "_"), batch.n, uuid.uuid4().hex), **self.extra)
        future.add_done_callback(lambda future: self.over(batch, future))

    def kill(self, batch):
        self.tell_workers("kill", [batch.id])

    def tell_workers(self, method, *words):
        """Whoever has it.  A worker listens to that also while its threads are busy; it may be gone."""
        def run():
            try:
                self.client.run(dask_tell, FAR, method, self.bridge.session, *words, on_error="ignore")
            except Exception:
                pass
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def abort(self, batches):
        self.client.cancel(self.give_up(batches))
        self.tell_workers("kill", [batch.id for batch in batches])

    def close(self):
        if self.client.status != "running":
            return
        if self.futures:
            self.client.cancel(list(self.futures.values()))
            self.tell_workers("kill_all").join()
        for name in self.plugins:
            self.client.unregister_worker_plugin(name)
        self.client.close(timeout=2)


def ray_errand(name, refs, ear, job, data):
    import sys
    import threading
    import select
    import ray
    if name not in sys.modules:
        install(name, ray.get(refs["source"]))

    def tell(*told):
        ear.put.remote((job[1],) + told)

    def pause(waits, worker):
        """To wait for Ray is what gives the processor back; until the task has its results."""
        if not waits:
            return
        done = "%s-%d" % (job[0], job[1])

        def release():
            select.select([worker.come, worker.pauses], [], [])
            ear.release.remote(done)

        waiting = ear.wait.remote(done)
        threading.Thread(target=release, daemon=True).start()
        ray.get(waiting)

    return tuple(sys.modules[name].here.run(job, data, lambda key: ray.get(refs[key]), tell, pause))


class Ray(Engine):
    def __init__(self, options, bridge):
        super().__init__(bridge)
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        self.ray = ray = need("ray", "ray (pip install ray)")
        address = address_of(options, "RAY_ADDRESS") or "auto"
        self.is_local = address == "local"
        if address not in ("auto", "local"):
            bridge.secrets.append(address)
        try:
            if ":" in address and "://" not in address:
                host, port = address.rsplit(":", 1)
                socket.create_connection((host, int(port)), bridge.wait_s).close()
            ray.init(address=address, logging_level="ERROR", log_to_driver=False,
                     namespace="parloop-" + bridge.session)
        except (OSError, ValueError, RuntimeError) as error:
            raise Refused("cannot connect to Ray: %s" % str(error).split("\n")[0],
                          "start it (ray start --head), or set the option address or $RAY_ADDRESS; "
                          "address=local starts one for this program")
        self.n_cpus = float(options.get("num_cpus") or 1)
        self.extra = {"num_cpus": self.n_cpus, "max_retries": int(options.get("retries") or 3)}
        if options.get("num_gpus"):
            self.extra["num_gpus"] = float(options["num_gpus"])
        if options.get("resources"):
            self.extra["resources"] = pairs(options["resources"])
        bridge.environment["RAY_ADDRESS"] = ray.get_runtime_context().gcs_address

        @ray.remote(num_cpus=0, max_restarts=3)
        class Ear:
            def __init__(self):
                import asyncio
                self.asyncio, self.told, self.events = asyncio, asyncio.Queue(), {}

            async def put(self, told):
                await self.told.put(told)

            async def take(self):
                return await self.told.get()

            def event(self, name):
                return self.events.setdefault(name, self.asyncio.Event())

            async def wait(self, name):
                await self.event(name).wait()
                del self.events[name]

            async def release(self, name):
                self.event(name).set()

        self.ear = Ear.remote()
        self.errand = ray.remote(ray_errand)
        self.refs, self.finished = {"source": ray.put(SOURCE)}, queue.SimpleQueue()
        for work in self.hear, self.listen:
            threading.Thread(target=work, daemon=True).start()

    def workers(self):
        n = self.ray.cluster_resources().get("CPU", 0)
        return int(n / self.n_cpus) if self.n_cpus > 0 else int(n)

    def put(self, key, content, is_file):
        self.refs[key] = self.ray.put(content)

    def drop(self, key):
        self.refs.pop(key, None)

    def submit(self, batch):
        job = batch.job
        keys = [blob[0] for blob in job[4]] + [file[0] for file in job[2:4] if file] + ["source"]
        ref = self.futures[batch.id] = self.errand.options(
            name="%s x%d" % (batch.name, batch.n), **self.extra).remote(
                FAR, {key: self.refs[key] for key in keys}, self.ear, job, batch.data)
        # That comes on a thread of Ray's, which is to wait for nothing.
        ref.future().add_done_callback(lambda future: self.finished.put((batch, future)))

    def hear(self):
        while True:
            try:
                self.bridge.tell(*self.ray.get(self.ear.take.remote()))
            except self.ray.exceptions.RayError:
                time.sleep(LOOK_S)

    def listen(self):
        while True:
            self.over(*self.finished.get())

    def kill(self, batch):
        """With Ray's worker: to interrupt it is a wish only."""
        ref = self.futures.get(batch.id)
        if ref is not None:
            self.ray.cancel(ref, force=True)

    def kill_all(self, refs):
        """But for those that are ending: to kill one at this very moment Ray may take for a bug of its own,
        and abort this process."""
        if refs:
            for ref in self.ray.wait(refs, num_returns=len(refs), timeout=ENDING_S)[1]:
                self.ray.cancel(ref, force=True)

    def abort(self, batches):
        threading.Thread(target=self.kill_all, args=(self.give_up(batches),), daemon=True).start()

    def close(self):
        """Ray ends what a program had when its connection ends; but not what was started for it."""
        self.kill_all(list(self.futures.values()))
        if self.is_local:
            self.ray.shutdown()


ENGINES = {"dask": Dask, "ray": Ray, "standin": StandIn}


# --- the plugin's side --------------------------------------------------------------------------------

class Batch:
    def __init__(self, id, n, name, job, data):
        self.id, self.n, self.name, self.job, self.data = id, n, name, job, data
        self.attempt, self.forwarded = None, 0

    def host(self):
        return self.attempt.split(" ")[0].encode() if self.attempt else b""


class Bridge:
    def __init__(self, sock):
        self.socket, self.session = sock, uuid.uuid4().hex
        self.sending, self.lock = threading.Lock(), threading.Lock()
        self.engine, self.environment, self.secrets = None, {}, []
        self.batches, self.blobs, self.files, self.n_blobs = {}, {}, [None, None], 0
        self.places = {}  # the engine's workers, in the order in which they were heard of
        self.leased, self.wants_look = threading.Event(), threading.Event()
        self.looking = threading.Lock()  # what was told of the workers is said under it
        self.waits_since = self.released = time.monotonic()
        self.n_workers = -1

    def send(self, kind, n=0, id=0, *parts):
        with self.sending:
            try:
                self.socket.sendall(b"".join((HEAD.pack(kind, n, id, sum(map(len, parts))),) + parts))
            except OSError:  # which whoever reads from it sees, too
                pass

    def hide(self, text):
        for secret in self.secrets:
            text = text.replace(secret, "(hidden)")
        return text.encode(errors="replace")

    def refuse(self, reason, remedy):
        """What comes then is the end."""
        self.send(REFUSE, 0, 0, self.hide(reason) + b"\0" + self.hide(remedy) + b"\0")
        self.socket.shutdown(socket.SHUT_RD)

    # --- what comes of batches, on threads of the engine's

    def is_of(self, batch, attempt):
        """The engine may run it once more: what was told first counts."""
        if batch.attempt is None:
            batch.attempt = attempt
            place, _ = attempt.rsplit(" ", 1)
            self.send(RUNS_AT, self.places.setdefault(place, len(self.places)), batch.id,
                      batch.host() + b"\0")
        return batch.attempt == attempt

    def tell(self, id, attempt, offset, piece):
        with self.lock:
            batch = self.batches.get(id)
            if batch is not None and self.is_of(batch, attempt) and offset == batch.forwarded:
                batch.forwarded += len(piece)
                self.send(ANSWER, 0, id, piece)

    def over(self, batch, outcome):
        attempt, status, answer, pid, signal, exit_code, text = outcome
        with self.lock:
            if self.batches.pop(batch.id, None) is None:
                return
            if attempt is not None and not self.is_of(batch, attempt):
                # The core asks for the rest.
                status, answer, signal, text = "lost", b"", KILLED, "the engine ran it again"
            elif len(answer) > batch.forwarded:
                self.send(ANSWER, 0, batch.id, answer[batch.forwarded:])
            self.send(DONE, STATUS[status], batch.id, HOW.pack(pid, signal, exit_code),
                      batch.host() + b"\0" + self.hide(text) + b"\0")

    def end(self, batch, status, text="", signal=0):
        """Without an answer."""
        self.over(batch, (None, status, b"", 0, signal, -1, text))

    def end_all(self, status, text=""):
        with self.lock:
            batches = list(self.batches.values())
        if batches:
            self.engine.abort(batches)
        for batch in batches:
            self.end(batch, status, text)

    # --- what the plugin says

    def open(self, options):
        self.wait_s = float(options["wait_for_workers"]) / 1e9
        self.keep_s = float(options["keep"]) / 1e9
        self.secrets += [options[key] for key in ("address", "tls_ca_file", "tls_client_cert",
                                                  "tls_client_key") if options.get(key)]
        self.expect(self.wait_s + CONNECT_S)
        self.engine = ENGINES[options["engine"]](options, self)
        for place, name in enumerate(("program", "library")):
            if not options.get(name):
                continue
            with open(options[name], "rb") as file:
                content = file.read()
            sha256 = hashlib.sha256(content).digest()
            key = "%s-%s" % (self.session, name)
            self.engine.put(key, content if options["ship"] == "1" else b"", True)
            self.files[place] = key, options[name], sha256
        threading.Thread(target=self.look, daemon=True).start()

    def add_blob(self, id, kind, body):
        _, writable, sha256 = BLOB_HEAD.unpack_from(body)
        content = body[BLOB_HEAD.size:]
        self.n_blobs += 1
        key = "%s-%d" % (self.session, self.n_blobs)
        self.engine.put(key, content, kind == 3)
        self.blobs[id] = key, id, kind, writable, sha256, len(content)

    def submit(self, id, n, body):
        n_blobs, n_tasks = struct.unpack_from("=QQ", body)
        ids = struct.unpack_from("=%dQ" % n_blobs, body, 16)
        name_at = 16 + 8 * n_blobs
        end = body.index(b"\0", name_at)
        live = [blob[0] for blob in self.blobs.values()] + [file[0] for file in self.files if file]
        job = (self.session, id, self.files[0], self.files[1], [self.blobs[i] for i in ids], live,
               self.environment)
        batch = Batch(id, n_tasks, body[name_at:end].decode(errors="replace"), job,
                      bytes(body[end + 1:]))
        with self.lock:
            self.batches[id] = batch
        try:
            self.engine.submit(batch)
        except Exception as error:
            self.end(batch, "failed", str(error))

    def take(self, kind, n, id, body):
        if kind == OPEN:
            texts = body.decode().split("\0")
            self.open(dict(text.split("=", 1) for text in texts if text))
        if kind in (OPEN, LEASE):
            with self.looking:
                self.waits_since, self.n_workers = time.monotonic(), -1
            self.leased.set()
            self.wants_look.set()
        elif kind == RELEASE:
            self.leased.clear()
            self.released = time.monotonic()
        elif kind == BLOB:
            self.add_blob(id, n, body)
        elif kind == DROP:
            self.engine.drop(self.blobs.pop(id)[0])
        elif kind == SUBMIT:
            self.submit(id, n, body)
        elif kind == KILL:
            with self.lock:
                batch = self.batches.get(id)
            if batch is not None:
                self.engine.kill(batch)
        elif kind == ABORT:
            self.end_all("aborted")

    def look(self):
        """How many workers there are, as long as somebody wants to know: each who leases is told at
        once, and then of what changes."""
        while True:
            if not self.leased.wait(1):
                if time.monotonic() - self.released > self.keep_s:
                    self.socket.shutdown(socket.SHUT_RDWR)
                continue
            self.wants_look.clear()
            try:
                n = self.engine.workers()
            except Exception:
                n = 0
            with self.looking:
                self.tell_workers(n)
            self.wants_look.wait(LOOK_S if n > 0 else LOOK_S / 5)

    def tell_workers(self, n):
        now = time.monotonic()
        if n > 0:
            self.waits_since = now
            if n != self.n_workers:
                self.n_workers = n
                self.send(WORKERS, n)
            return
        if now - self.waits_since > self.wait_s:
            text = "it has had no worker for %g s" % self.wait_s
            if self.n_workers < 0:
                self.refuse(text, "start some, or wait longer with the option wait_for_workers")
                self.leased.clear()
            self.end_all("failed", text + "; start some, or set the option wait_for_workers")
        self.n_workers = min(self.n_workers, 0)

    def read(self, n):
        body, at = bytearray(n), 0
        while at < n:
            got = self.socket.recv_into(memoryview(body)[at:])
            if got == 0:
                raise EOFError
            at += got
        return body

    def serve(self):
        try:
            while True:
                kind, n, id, size = HEAD.unpack(self.read(HEAD.size))
                self.take(kind, n, id, self.read(size))
        except Refused as refused:
            self.refuse(str(refused), refused.remedy)
        except (EOFError, ConnectionError, BrokenPipeError):
            pass
        except Exception as error:
            self.refuse("%s: %s" % (type(error).__name__, error), "")

    def end_with(self, parent):
        """Whatever this is at, and whoever else has the other end of the socket: without the program
        it is of no use.  The engine has a moment to hear of it."""
        poll = select.poll()
        poll.register(self.socket, select.POLLRDHUP)
        try:
            poll.register(os.pidfd_open(parent), select.POLLIN)
            if os.getppid() == parent:
                poll.poll()
        except OSError:
            pass
        if self.engine is not None:
            self.socket.shutdown(socket.SHUT_RD)
            time.sleep(END_S)
        os._exit(1)

    def expect(self, seconds):
        """Some engines try for ever."""
        def give_up():
            if self.engine is None:
                self.refuse("the engine did not let us in within %g s" % seconds,
                            "see whether it runs, and whether the address is right")
                os._exit(1)
        timer = threading.Timer(seconds, give_up)
        timer.daemon = True
        timer.start()


def main():
    sock = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    bridge = Bridge(sock)
    threading.Thread(target=bridge.end_with, args=(int(sys.argv[1]),), daemon=True).start()
    bridge.serve()
    # What cannot be ended in time is left to the engine.
    timer = threading.Timer(END_S, os._exit, (1,))
    timer.daemon = True
    timer.start()
    try:
        if bridge.engine is not None:
            bridge.engine.close()
    except Exception:
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
