"""Fixtures of what is refused: found, wanted, what to do; nothing lost, started, or asked for elsewhere."""

import hashlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from clearyear import cli
from clearyear.errors import ClearyearError

Refused = Callable[..., str]


@pytest.fixture
def no_prefect(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of this must show before Prefect starts."""

    def started(*_: Any, **__: Any) -> None:
        raise AssertionError("Prefect would have been started")

    monkeypatch.setattr(cli, "run_flow", started)


def snapshot(folder: Path) -> dict[Path, str]:
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def refused(tmp_path: Path) -> Refused:
    """Run a command as a person does, as a program does and as a developer does; returns the message."""

    def run(*arguments: str | Path, says: tuple[str, ...], code: int = 2) -> str:
        before = snapshot(tmp_path)
        command = [str(argument) for argument in arguments]
        plain = CliRunner().invoke(cli.main, command)
        assert isinstance(plain.exception, SystemExit), plain.exception
        assert (plain.exit_code, plain.stdout) == (code, "")
        message = plain.stderr
        assert message.startswith("Error: ")
        assert message.count("\n") == 1, "one paragraph"
        assert "Wanted: " in message
        assert "What to do: " in message
        assert "Traceback" not in message
        for words in says:
            assert words in message
        program = CliRunner().invoke(cli.main, [*command, "--json"])
        document = json.loads(program.stdout)
        assert (document["status"], f"Error: {document['error']}\n") == ("failed", message)
        assert (program.exit_code, program.stderr) == (code, message)
        developer = CliRunner().invoke(cli.main, [*command, "--debug"])
        assert isinstance(developer.exception, ClearyearError)
        after = snapshot(tmp_path)
        assert {path: after.get(path) for path in before} == before, "nothing is lost or changed"
        return message

    return run


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[str]]]:
    """A web server that nobody must ask; its address, and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()
