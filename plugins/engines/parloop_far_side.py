"""parloop_far_side.py - runs batches in a worker process of an engine (Dask, Ray, ...).

The bridge sends this text along; it becomes a module there, once in a process.  A batch is run by
another process, which is parloop's: parloop-worker, or the caller's program, executed once more.  It
speaks the plain messages of parloop/worker.h, and may crash or be killed without harm to the engine's
worker.  Some are kept for the next batch.  What they map lies in memory files of this process.
"""
import collections
import hashlib
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import uuid

HEAD = struct.Struct("=IiQ")
ATTACHMENT = struct.Struct("=QQii32s")
ATTACH, DETACH, RUN, READY, ANSWER, END = 1, 2, 3, 16, 17, 18
TELL_S = 0.25  # so old may an answer be that somebody waits for; to tell costs as much as a batch
IDLE_S = 60  # so long is kept what nobody asks for
MOST_CONDEMNED = 4096

# What a batch may need: key is its name among all that was ever sent, and the rest as in
# par_attachment.
Blob = collections.namedtuple("Blob", "key id kind writable sha256 n_bytes")
# A file that may be here already: what is executed, and the library that it needs.
File = collections.namedtuple("File", "key path sha256")
Job = collections.namedtuple("Job", "session batch program library blobs live environment")
# How a batch ended: "ok", "lost" (its process died), "failed" (there can be none); the answer whole.
# An attempt is the host, the process of the engine's there, and what makes it unique.
Outcome = collections.namedtuple("Outcome", "attempt status answer pid signal exit_code text")


class CannotStart(Exception):
    pass


def cache_folder():
    """Where the core keeps modules, too (module_cache.h)."""
    named = os.environ.get("PARLOOP_CACHE", "")
    cache = os.environ.get("XDG_CACHE_HOME", "")
    home = os.environ.get("HOME", "")
    folder = (named if named.startswith("/") else
              os.path.join(cache, "parloop") if cache.startswith("/") else
              os.path.join(home, ".cache/parloop") if home.startswith("/") else
              "/tmp/parloop-%d" % os.geteuid())
    os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
    try:
        os.mkdir(folder, 0o700)
    except FileExistsError:
        pass
    there = os.lstat(folder)
    if there.st_uid != os.geteuid() or there.st_mode & 0o170077 != 0o040000:
        raise CannotStart("%s can be read or written by others; name a folder that is this user's "
                          "alone in $PARLOOP_CACHE" % folder)
    return folder


def has_content(path, sha256):
    try:
        with open(path, "rb") as file:
            return hashlib.sha256(file.read()).digest() == sha256
    except OSError:
        return False


def memory_file(content):
    fd = os.memfd_create("parloop", os.MFD_CLOEXEC)
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view):]
    return fd


class Worker:
    """A process that runs batches, one after the other."""

    def __init__(self, program, preload, environment, session):
        self.session, self.has, self.since = session, {}, 0
        there, self.to = os.pipe()
        self.come, back = os.pipe()
        self.pauses, pausing = os.pipe()
        environment = dict(os.environ, **environment)
        environment["PARLOOP_WORKER"] = "%d:%d:0:%d:plain" % (there, back, os.getpid())
        environment["PARLOOP_ENGINE_SLOT"] = "%d" % pausing
        environment.setdefault("PARLOOP_PYTHON", sys.executable)  # for calls inside tasks
        if preload:
            environment["LD_PRELOAD"] = preload
        try:
            self.process = subprocess.Popen([program], pass_fds=(there, back, pausing),
                                            env=environment, stdin=subprocess.DEVNULL)
        except OSError as error:
            raise CannotStart("%s: %s" % (program, error.strerror))
        finally:
            for fd in there, back, pausing:
                os.close(fd)
        try:
            if self.read_message()[0] != READY:
                raise EOFError
        except EOFError:
            self.end()
            raise CannotStart(self.why(program, environment))

    @staticmethod
    def why(program, environment):
        """Why it does not start: what it says if it is told to be nobody's worker."""
        environment = dict(environment, PARLOOP_WORKER="0:0:0:0")
        try:
            said = subprocess.run([program], env=environment, stdin=subprocess.DEVNULL, timeout=10,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.PIPE).stderr
        except (OSError, subprocess.TimeoutExpired) as error:
            said = str(error).encode()
        return "%s cannot be a worker here: %s" % (program, said.decode(errors="replace").strip())

    def read(self, n):
        parts = []
        while n > 0:
            part = os.read(self.come, min(n, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            n -= len(part)
        return b"".join(parts)

    def read_message(self):
        kind, n, size = HEAD.unpack(self.read(HEAD.size))
        return kind, n, self.read(size)

    def write(self, kind, *bodies):
        head = HEAD.pack(kind, 0, sum(map(len, bodies)))
        for part in (head,) + bodies:
            view = memoryview(part)
            while view:
                view = view[os.write(self.to, view):]

    def attach(self, blob, fd):
        if self.has.get(blob.id) == blob.key:
            return
        path = "/proc/%d/fd/%d" % (os.getpid(), fd)
        self.write(ATTACH, ATTACHMENT.pack(blob.id, blob.n_bytes, blob.kind, blob.writable,
                                           blob.sha256), path.encode() + b"\0")
        self.has[blob.id] = blob.key

    def let_go(self, live):
        for id in [id for id, key in self.has.items() if key not in live]:
            del self.has[id]
            self.write(DETACH, struct.pack("=Q", id))

    def kill(self):
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:  # it has no group of its own yet
            self.process.kill()

    def end(self):
        self.kill()
        for fd in self.to, self.come, self.pauses:
            os.close(fd)
        return self.process.wait()


class FarSide:
    def __init__(self):
        self.lock = threading.Lock()
        self.idle = []
        self.running = {}  # (session, batch): Worker
        self.condemned = {}  # (session, batch): None, the last of those that were to be killed
        self.memory = {}  # key: (session, descriptor, when it was asked for)
        self.programs = {}  # key: path
        self.sweeper = None

    # --- what is kept ---------------------------------------------------------------------------

    def find(self, session, key, fetch):
        """The descriptor of what a batch of the session needs."""
        with self.lock:
            is_here = key in self.memory
        fd = None if is_here else memory_file(fetch(key))
        with self.lock:
            if fd is not None and key in self.memory:  # another batch was faster
                os.close(fd)
            elif fd is not None:
                self.memory[key] = session, fd, 0
            session, fd, _ = self.memory[key]
            self.memory[key] = session, fd, time.monotonic()
            return fd

    def forget(self, session, live=()):
        """What the session does not need any more, or nothing of it."""
        with self.lock:
            gone = [key for key, kept in self.memory.items() if kept[0] == session and key not in live]
            for key in gone:
                os.close(self.memory.pop(key)[1])
            ended = [worker for worker in self.idle if worker.session == session and not live]
            self.idle = [worker for worker in self.idle if worker not in ended]
        for worker in ended:
            worker.end()

    def expect_end(self):
        with self.lock:
            if self.sweeper is None:
                self.sweeper = threading.Timer(IDLE_S / 4, self.sweep)
                self.sweeper.daemon = True
                self.sweeper.start()

    def sweep(self):
        """Nothing is kept for a program that went without a word."""
        with self.lock:
            self.sweeper = None
            now = time.monotonic()
            busy = {session for session, _ in self.running}
            old = [worker for worker in self.idle if now - worker.since > IDLE_S]
            self.idle = [worker for worker in self.idle if worker not in old]
            for key, (session, fd, since) in list(self.memory.items()):
                if now - since > IDLE_S and session not in busy:
                    os.close(self.memory.pop(key)[1])
            is_empty = not (self.idle or self.memory or self.running)
        for worker in old:
            worker.end()
        if not is_empty:
            self.expect_end()

    def locate(self, session, file, ending, fetch):
        """The path of a file: the caller's, if that is here; else one in the cache.  The second value
        says which."""
        if has_content(file.path, file.sha256):
            return file.path, True
        path = os.path.join(cache_folder(), file.sha256.hex() + ending)
        if not has_content(path, file.sha256):
            content = fetch(file.key)
            if hashlib.sha256(content).digest() != file.sha256:
                raise CannotStart("%s was damaged on the way" % file.path)
            part = os.path.join(os.path.dirname(path), ".part-%s" % uuid.uuid4().hex)
            try:
                with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700), "wb") as out:
                    out.write(content)
                os.rename(part, path)
            except OSError as error:
                if os.path.exists(part):
                    os.unlink(part)
                raise CannotStart("%s: %s" % (path, error.strerror))
        return path, False

    # --- a batch ----------------------------------------------------------------------------------

    def start(self, job, fetch):
        if job.program.key not in self.programs:
            program, _ = self.locate(job.session, job.program, ".exe", fetch)
            library, is_here = ((None, True) if job.library is None else
                                self.locate(job.session, job.library, ".so", fetch))
            self.programs[job.program.key] = program, None if is_here else library
        program, preload = self.programs[job.program.key]
        return Worker(program, preload, job.environment, job.session)

    def take(self, job, fetch):
        with self.lock:
            for worker in self.idle:
                if worker.session == job.session and worker.process.poll() is None:
                    self.idle.remove(worker)
                    return worker
        return self.start(job, fetch)

    def listen(self, worker, attempt, tell, pause):
        """The answer, piece by piece, until the batch is over; what takes long is told before."""
        answer, told, since = bytearray(), 0, time.monotonic()
        poll = select.poll()
        poll.register(worker.come, select.POLLIN)
        poll.register(worker.pauses, select.POLLIN)
        while True:
            wait = TELL_S * 1000 if len(answer) > told else None
            ready = [fd for fd, _ in poll.poll(wait)]
            if worker.come in ready:
                try:
                    kind, n, body = worker.read_message()
                except EOFError:
                    return "lost", bytes(answer), ""
                if kind == END:
                    return ("ok" if n == 0 else "lost"), bytes(answer), body.decode(errors="replace")
                answer += body
            elif worker.pauses in ready:
                # The task waits for calls of its own, which may need this place; or does not any more.
                said = os.read(worker.pauses, 1)
                if said:
                    pause(said == b"w", worker)
                else:
                    poll.unregister(worker.pauses)
            if len(answer) > told and time.monotonic() - since >= TELL_S:
                tell(attempt, told, bytes(answer[told:]))
                told, since = len(answer), time.monotonic()

    def run(self, job, data, fetch, tell, pause):
        """job: as Job, of plain tuples, since it was sent before this module."""
        job = Job(*job)
        job = job._replace(program=File(*job.program), library=job.library and File(*job.library),
                           blobs=[Blob(*blob) for blob in job.blobs])
        attempt = "%s %d %s" % (socket.gethostname(), os.getpid(), uuid.uuid4().hex)
        name, worker, outcome = (job.session, job.batch), None, ("lost", b"", "")
        try:
            worker = self.take(job, fetch)
            with self.lock:
                self.running[name] = worker
                is_condemned = name in self.condemned
            if is_condemned:
                worker.kill()
            try:
                worker.let_go(job.live)
                self.forget(job.session, job.live)
                for blob in job.blobs:
                    worker.attach(blob, self.find(job.session, blob.key, fetch))
                worker.write(RUN, data)
                outcome = self.listen(worker, attempt, tell, pause)
            except BrokenPipeError:
                pass
            return self.finish(worker, name, attempt, *outcome)
        except CannotStart as error:
            return Outcome(attempt, "failed", b"", 0, 0, -1, str(error))
        except BaseException:  # the engine wants its thread back
            if worker is not None:
                worker.kill()
                self.finish(worker, name, attempt, "lost", b"", "")
            raise

    def finish(self, worker, name, attempt, status, answer, text):
        with self.lock:
            self.running.pop(name, None)
            if status == "ok" and worker.process.poll() is None:
                worker.since = time.monotonic()
                self.idle.append(worker)
                worker = None
        self.expect_end()
        if worker is None:
            return Outcome(attempt, status, answer, 0, 0, -1, text)
        pid, code = worker.process.pid, worker.end()
        return Outcome(attempt, status, answer, pid, max(-code, 0), max(code, -1), text)

    def kill(self, session, batches):
        """The processes that run these; one that is on its way here, or about to begin, does not get
        far."""
        names = [(session, batch) for batch in batches]
        with self.lock:
            workers = [self.running[name] for name in names if name in self.running]
            self.condemned.update(dict.fromkeys(names))
            for name in list(self.condemned)[:-MOST_CONDEMNED]:
                del self.condemned[name]
        for worker in workers:
            worker.kill()

    def kill_all(self, session):
        with self.lock:
            workers = [worker for (whose, _), worker in self.running.items() if whose == session]
        for worker in workers:
            worker.kill()


here = FarSide()
