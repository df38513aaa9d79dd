"""Drives the echo bots of all four languages against one gateway: registers them, has each called, and measures what each costs while idle.

    conformance.py --gateway http://127.0.0.1:8080 --key pbk_… --rust target/debug/examples/echo
    conformance.py --patchbay target/release/patchbay --rust target/release/examples/echo

In the first form the gateway runs already, has a route for each language (`bot = "python"` …), and whoever started this places the calls: a line
`{"call": ["python", …]}` asks for them, all at once, and a line of JSON on standard input, `{"python": {"speech_came_back": true}, …}`, is what
came of it. In the second form both
are done here, by `patchbay serve` and `patchbay call`. `--proxy URL` puts what buffers between the bots and the gateway: the bots are to notice.

The last line is the result, as JSON. Exit code 0: every bot took its call, said back what it heard, and cost less than it may.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

HERE = Path(__file__).resolve().parent
TOP = HERE.parent.parent
sys.path.insert(0, str(HERE / "python"))

from patchbay_bot import BotKey  # noqa: E402

LANGUAGES = ("python", "node", "go", "rust")
#: What issue 5 allows an idle bot: resident memory in MB (2²⁰ bytes, as `ps` counts), and a share of one core.
RESIDENT_MB_MAX, CPU_MAX = 50.0, 0.10
IDLE_S = 5.0
READY_S = 30.0
#: How long a bot echoes before it clears and hangs up. The caller of `patchbay call` waits 20 s for the end of a greeting, and an echo of
#: silence has none; then it speaks for two seconds and a half.
ECHO_S = 26


class Failed(Exception):
    """What a bot did not do."""


class Bot:
    """The echo bot of one language, running."""

    def __init__(self, language: str, command: list[str], folder: Path, url: str, audience: str | None, echo_s: int) -> None:
        self.language, self.key = language, BotKey.generate()
        key = folder / f"{language}.pem"
        key.write_bytes(self.key.pem())
        self._command, self._key, self._url, self._audience, self._echo_s = command, key, url, audience, echo_s
        self._said: queue.Queue[str] = queue.Queue()
        self._log = (folder / f"{language}.log").open("w+")

    def start(self) -> None:
        environment = {**os.environ, "PATCHBAY_URL": self._url, "PATCHBAY_BOT": self.language, "PATCHBAY_KEY": str(self._key),
                       "PATCHBAY_ECHO_SECONDS": str(self._echo_s), "PYTHONPATH": str(HERE / "python")}
        if self._audience:
            environment["PATCHBAY_AUDIENCE"] = self._audience
        self.child = subprocess.Popen(self._command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._log,
                                      text=True, cwd=HERE / self.language)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.child.stdout
        for line in self.child.stdout:
            self._said.put(line.strip())

    def says(self, what: str, within_s: float) -> str:
        """The line that begins so, if it comes in time."""
        ends = time.monotonic() + within_s
        while (left := ends - time.monotonic()) > 0 and (self.child.poll() is None or not self._said.empty()):
            try:
                line = self._said.get(timeout=min(left, 0.2))
            except queue.Empty:
                continue
            if line.startswith(what):
                return line
        self._log.seek(0)
        raise Failed(f"{self.language} did not say {what!r} within {within_s:.0f} s: {self._log.read()[-2000:]}")

    def cpu_s(self) -> float:
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self) -> float:
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) / 1024 if found else 0.0

    def stop(self) -> None:
        if hasattr(self, "child") and self.child.poll() is None:
            self.child.terminate()
            self.child.wait(5)


class Gateway:
    """`patchbay serve` and `patchbay call`, started here."""

    def __init__(self, binary: Path, folder: Path) -> None:
        self._binary, self._folder, self.key = binary, folder, "the-gateway-key-of-this-run"
        routes = "".join(f'[tenants.default.routes.{name}]\nbot = "{name}"\ngreeting = ""\n' for name in LANGUAGES)
        (folder / "patchbay.toml").write_text('[tenants.default]\napi_key = { env = "CONFORMANCE_KEY" }\n' + routes)
        environment = {**os.environ, "CONFORMANCE_KEY": self.key, "PATCHBAY__SERVER__LISTEN": "127.0.0.1:0",
                       "PATCHBAY__SERVER__ADMIN_LISTEN": "127.0.0.1:0"}
        self.child = subprocess.Popen([binary, "serve", "--config", folder / "patchbay.toml"], env=environment, cwd=folder,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert self.child.stdout
        for line in self.child.stdout:
            if found := re.search(r"(http://127\.0\.0\.1:\d+)", line):
                self.url = found[1]
                break
        else:
            raise Failed("patchbay serve did not say where it listens")
        threading.Thread(target=lambda: [None for _ in self.child.stdout or ()], daemon=True).start()

    def calls(self, languages: list[str]) -> Any:
        with ThreadPoolExecutor() as pool:
            return dict(zip(languages, pool.map(self._call, languages)))

    def _call(self, language: str) -> Any:
        command = [self._binary, "call", f"{self.url}/twilio/voice/default/{language}", "--wav", TOP / "fixtures/audio/caller-short.wav", "--json"]
        placed = subprocess.run(command, capture_output=True, text=True, timeout=60)
        return json.loads(placed.stdout.strip().splitlines()[-1])

    def stop(self) -> None:
        self.child.terminate()
        self.child.wait(30)


def command_of(language: str, rust: str | None, folder: Path) -> list[str] | None:
    """How an echo bot is started. Go's is built first, for `go run` would be measured with it."""
    if language == "rust":
        return [str(Path(rust).resolve())] if rust else None
    if language == "go":
        go, built = shutil.which("go") or str(Path(sys.executable).parent / "go"), str(folder / "echo-go")
        subprocess.run([go, "build", "-o", built, "./examples/echo"], cwd=HERE / "go", check=True)
        return [built]
    return {"python": [sys.executable, "examples/echo.py"], "node": ["node", "examples/echo.mjs"]}[language]


def enter(gateway: str, key: str, bot: Bot) -> None:
    """Shows the gateway a bot's public key."""
    body = json.dumps({"id": bot.language, "name": f"Echo ({bot.language})", "jwk": bot.key.jwk}).encode()
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    with urlopen(Request(f"{gateway}/v1/bots", body, headers), timeout=10) as answer:
        assert answer.status == 201, answer.status


def measure(bots: list[Bot]) -> dict[str, dict[str, float]]:
    """What the bots cost while they wait for calls, all in the same seconds."""
    time.sleep(1)
    before, began = {bot.language: bot.cpu_s() for bot in bots}, time.monotonic()
    time.sleep(IDLE_S)
    took = time.monotonic() - began
    costs = {}
    for bot in bots:
        cost = costs[bot.language] = {"resident_mb": round(bot.resident_mb(), 1), "cpu": round((bot.cpu_s() - before[bot.language]) / took, 4)}
        print(f"{bot.language:7} idle: {cost['resident_mb']:5.1f} MB resident, {100 * cost['cpu']:.1f} % of a core", flush=True)
        if cost["resident_mb"] >= RESIDENT_MB_MAX or cost["cpu"] >= CPU_MAX:
            raise Failed(f"{bot.language} costs too much while idle: {cost}")
    return costs


def asked_of_the_starter(languages: list[str]) -> Any:
    print(json.dumps({"call": languages}), flush=True)
    return json.loads(sys.stdin.readline())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gateway", help="the public URL of a gateway that runs")
    parser.add_argument("--key", help="a gateway key of its tenant")
    parser.add_argument("--patchbay", type=Path, help="the binary, to start a gateway and to place the calls")
    parser.add_argument("--rust", help="the echo bot of the Rust SDK, built; left out without it")
    parser.add_argument("--proxy", help="where the bots find the gateway, if that is not where it is")
    parser.add_argument("--only", choices=LANGUAGES, help="one language")
    parser.add_argument("--echo", type=int, default=ECHO_S, help="how many seconds a bot echoes before it clears and hangs up")
    parser.add_argument("--no-idle", action="store_true", help="do not measure what waiting costs")
    arguments = parser.parse_args()
    if bool(arguments.patchbay) == bool(arguments.gateway and arguments.key):
        parser.error("either --patchbay, or --gateway and --key")
    started: list[Bot | Gateway] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            own = Gateway(arguments.patchbay.resolve(), folder) if arguments.patchbay else None
            if own:
                started.append(own)
            gateway, key = (own.url, own.key) if own else (arguments.gateway, arguments.key)
            bots = []
            for language in (arguments.only,) if arguments.only else LANGUAGES:
                if command := command_of(language, arguments.rust, folder):
                    bot = Bot(language, command, folder, arguments.proxy or gateway, gateway if arguments.proxy else None, arguments.echo)
                    enter(gateway, key, bot)
                    bot.start()
                    bots.append(bot)
                    started.append(bot)
            for bot in bots:
                bot.says("ready", READY_S)
            result: dict[str, Any] = {"idle": {} if arguments.no_idle else measure(bots), "calls": {}}
            called = [bot.language for bot in bots]
            reports = own.calls(called) if own else asked_of_the_starter(called)
            for bot in bots:
                said, report = bot.says("call ", 5), reports[bot.language]
                if not report["speech_came_back"]:
                    raise Failed(f"{bot.language} took the call and said nothing: {report}")
                result["calls"][bot.language] = {"call": said.split()[1], "level": said.split()[2].lower()}
            print(json.dumps(result))
            return 0
        except Failed as failed:
            print(json.dumps({"failed": str(failed)}))
            return 1
        finally:
            for one in reversed(started):
                one.stop()


if __name__ == "__main__":
    sys.exit(main())
