"""A whole gateway under load, whose processes are killed one by one."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

import grpc
import psutil

from gateway.v1 import inference

REPOSITORY = Path(__file__).parents[2]
METHOD = "/inference.GRPCInferenceService/ModelInfer"
READY = re.compile(r"gateway ready on \S+:(\d+)")
START_S = 60.0


def a_request() -> bytes:
    """One row for the diabetes model."""
    request = inference.ModelInferRequest(model_name="diabetes")
    tensor = request.inputs.add(name="measurements", datatype="FP32")
    tensor.shape.extend([1, 10])
    request.raw_input_contents.append(struct.pack("<10f", *[0.01 * i for i in range(10)]))
    return bytes(request.SerializeToString())


class Besieged:
    """``gateway serve`` with the shipped models and policies, and what it acknowledged to ``threads`` callers."""

    def __init__(self, data: Path, *, workers: int = 2, threads: int = 8) -> None:
        self.data = data
        self.acknowledged: list[str] = []
        self.restarts = 0
        self._workers = workers
        self._port = 0
        self._over = threading.Event()
        self._callers = [threading.Thread(target=self._call, daemon=True) for _ in range(threads)]
        self._key = ""

    def start(self) -> None:
        """Start it and begin to call."""
        self.data.mkdir(parents=True)
        command = [sys.executable, "-m", "gateway", "keys", "create", "--id", "load", "--tenant", "clinic"]
        done = subprocess.run([*command, "--data", str(self.data)], capture_output=True, text=True, check=True)
        self._key = done.stdout.split()[-1]
        self._start()
        for caller in self._callers:
            caller.start()

    def wait_for(self, more: int) -> None:
        """Until that many more calls were answered. Raises: TimeoutError with the log's end."""
        target, deadline = len(self.acknowledged) + more, time.monotonic() + START_S
        while len(self.acknowledged) < target:
            if self._process.poll() is not None:
                self._restart()
            if time.monotonic() > deadline:
                raise TimeoutError(f"no answers any more: {self._log_end()}")
            time.sleep(0.02)

    def kill(self, role: str) -> None:
        """kill -9 one process whose title begins with ``gateway: <role>``; a killed supervisor is started again."""
        if role == "supervisor":
            os.kill(self._process.pid, signal.SIGKILL)
            self._restart()
            return
        for child in psutil.Process(self._process.pid).children():
            with contextlib.suppress(psutil.Error):  # the one that was killed last may end while we look
                if " ".join(child.cmdline()).startswith(f"gateway: {role}"):
                    child.kill()
                    return

    def kill_all(self) -> None:
        """kill -9 all its processes; nothing writes any more until ``restart``."""
        supervisor = psutil.Process(self._process.pid)
        victims = [supervisor, *supervisor.children(recursive=True)]  # the supervisor first: it starts no new ones then
        for victim in victims:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.kill()
        self._process.wait(START_S)
        _, alive = psutil.wait_procs(victims[1:], START_S)
        assert not alive, f"killed and still there: {alive}"

    def restart(self) -> None:
        """Start what was killed, or went, again."""
        self._restart()

    def stop(self) -> None:
        """End the calls, then the gateway, as an operator would."""
        self._over.set()
        for caller in self._callers:
            if caller.is_alive():
                caller.join()
        self._process.terminate()
        try:
            self._process.wait(START_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise

    def _restart(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        self._process.wait(START_S)
        self.restarts += 1
        self._start()

    def _start(self) -> None:
        """Orphans of a killed supervisor may hold the directory a moment longer: then it is tried again."""
        options = ["--models", REPOSITORY / "examples" / "models", "--policies", REPOSITORY / "policies"]
        options += ["--data", self.data, "--port", "0", "--admin-port", "0", "--workers", self._workers]
        deadline = time.monotonic() + START_S
        while True:
            self._log = self.data / f"serve-{time.monotonic_ns()}.log"
            with self._log.open("wb") as file:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "gateway", "serve", *map(str, options)],
                    stdout=file,
                    stderr=subprocess.STDOUT,
                )
            while self._process.poll() is None and time.monotonic() < deadline:
                if found := READY.search(self._log.read_text(errors="replace")):
                    self._port = int(found[1])
                    return
                time.sleep(0.05)
            if time.monotonic() > deadline:
                raise TimeoutError(f"it does not become ready: {self._log_end()}")

    def _log_end(self) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-10:])

    def _call(self) -> None:
        request, metadata = a_request(), (("x-api-key", self._key),)
        while not self._over.is_set():
            port = self._port
            with grpc.insecure_channel(
                f"127.0.0.1:{port}", options=(("grpc.use_local_subchannel_pool", 1),)
            ) as channel:
                infer = channel.unary_unary(METHOD)
                while port == self._port and not self._over.is_set():
                    try:
                        _, call = infer.with_call(request, timeout=3.0, metadata=metadata)
                    except grpc.RpcError:
                        time.sleep(0.02)
                        break
                    trailers = dict(call.trailing_metadata() or ())
                    self.acknowledged.append(str(trailers["gateway-prediction-id"]))
