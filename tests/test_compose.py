"""docker-compose.yaml: what it says, and its services run without Docker, by their own commands and settings."""

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from cloud_harness import until
from harness import (
    BIN,
    ROOT,
    PatientTransport,
    Prefect,
    copy_of_prefect_yaml,
    free_port,
    left_over,
    running_process,
    wait_until_answers,
)
from runs import finished

from clearyear.console import EMBEDDED

COMPOSE = ROOT / "deployments" / "docker-compose.yaml"


def test_nothing_listens_beyond_the_machine_unless_asked_to() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"server": ["${CLEARYEAR_LISTEN:-127.0.0.1}:4200:4200"]}


def test_on_the_hosts_network_a_worker_is_heard_on_the_machine_only() -> None:
    """Its health check tells without a password that it lives, and listens to everyone unless told otherwise."""
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    hosts = {
        name: service["environment"].get("PREFECT_WORKER_WEBSERVER_HOST")
        for name, service in services.items()
        if service.get("network_mode") == "host" and "--with-healthcheck" in service["command"]
    }
    assert hosts == {"cloud-run-worker": "127.0.0.1"}


def test_server_and_clients_share_image_and_password() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    ours = {name: service for name, service in services.items() if name != "postgres"}
    assert len({service["image"] for service in ours.values()}) == 1
    assert "PREFECT_AUTH" in ours["server"]["environment"]["PREFECT_SERVER_API_AUTH_STRING"]
    for name in ("worker", "cloud-run-worker"):
        assert "PREFECT_AUTH" in ours[name]["environment"]["PREFECT_API_AUTH_STRING"]
    settings = {name: str(value) for name, value in ours["server"]["environment"].items() if name in EMBEDDED}
    assert settings == {name: EMBEDDED[name] for name in settings}
    assert len(settings) >= 7


@pytest.mark.skipif(shutil.which("docker-compose") is None, reason="docker-compose is not here")
def test_compose_understands_the_file() -> None:
    example = COMPOSE.with_name("compose.env.example")
    command = ["docker-compose", "--env-file", str(example), "--file", str(COMPOSE)]
    done = subprocess.run([*command, "--profile", "local", "--profile", "cloud-run", "config"], capture_output=True)
    assert done.returncode == 0, done.stderr
    assert set(yaml.safe_load(done.stdout)["services"]) == {"postgres", "server", "worker", "cloud-run-worker"}


# -- without Docker -------------------------------------------------------------------------------------------

POSTGRES = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
ENV = {"CLEARYEAR_IMAGE": "clearyear:test", "PREFECT_AUTH": "admin:word", "POSTGRES_PASSWORD": "lettersAndDigits1"}
"""The user's .env."""


class Services:
    """The services of the file, with the user's values put in, on ports that are free here."""

    def __init__(self) -> None:
        self.services = yaml.safe_load(re.sub(r"\$\{(\w+)(?::([-?])([^}]*))?\}", self._value, COMPOSE.read_text()))[
            "services"
        ]
        self.ports = {"postgres:5432": free_port(), "server:4200": free_port()}

    def _value(self, match: re.Match[str]) -> str:
        name, sign, word = match.groups()
        if name not in ENV and sign != "-":
            raise KeyError(name)
        return ENV.get(name, word)

    def here(self, text: str) -> str:
        """The other services' addresses as they are here; what asks itself knows itself as 127.0.0.1."""
        text = text.replace("127.0.0.1:4200", "server:4200")
        for address, port in self.ports.items():
            text = text.replace(address, f"127.0.0.1:{port}")
        return text

    def environment(self, service: str, home: Path) -> dict[str, str]:
        """Nothing of ours: what a container has, and what the file gives it."""
        given = {name: self.here(str(value)) for name, value in self.services[service]["environment"].items()}
        path = {"PATH": f"{BIN}{os.pathsep}/usr/bin:/bin", "HOME": str(home)}
        return {**path, "PREFECT_HOME": str(home / "prefect"), **given}

    def command(self, service: str) -> list[str]:
        words = self.services[service]["command"]
        if service == "server":  # in its container it listens at all addresses, which are the container's alone
            assert words[-4:] == ["--host", "0.0.0.0", "--port", "4200"]
            words = [*words[:-4], "--host", "127.0.0.1", "--port", str(self.ports["server:4200"])]
        return [str(BIN / words[0]), *words[1:]]

    def is_healthy(self, service: str, environment: dict[str, str]) -> bool:
        """What the file asks to know it."""
        kind, *words = self.services[service]["healthcheck"]["test"]
        if kind == "CMD-SHELL":
            words = ["sh", "-c", *words]
        words = [self.here(word) for word in words]
        return subprocess.run(words, env=environment, capture_output=True).returncode == 0


@contextmanager
def postgres(services: Services) -> Iterator[None]:
    """PostgreSQL as its image starts it: the user, the database and the password that the file names."""
    assert POSTGRES is not None
    given = services.services["postgres"]["environment"]
    who = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    home = Path(tempfile.mkdtemp(prefix="clearyear-postgres-", dir="/tmp"))  # where that user may go
    try:
        (home / "word").write_text(given["POSTGRES_PASSWORD"])
        if who:
            for path in (home, home / "word"):
                shutil.chown(path, who, who)
        initial = ["--username", given["POSTGRES_USER"], "--pwfile", str(home / "word"), "--auth", "scram-sha-256"]
        subprocess.run(
            [POSTGRES / "initdb", "--pgdata", home / "data", *initial],
            check=True,
            capture_output=True,
            user=who,
            group=who,
        )
        port = str(services.ports["postgres:5432"])
        serve: list[str | Path] = [
            POSTGRES / "postgres",
            "-D",
            home / "data",
            "-p",
            port,
            "-h",
            "127.0.0.1",
            "-k",
            home,
        ]
        server = subprocess.Popen(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, user=who, group=who)
        try:
            env = {"PATH": os.environ["PATH"], "PGHOST": "127.0.0.1", "PGPORT": port}
            while not services.is_healthy("postgres", env):
                assert server.poll() is None
            env |= {"PGUSER": given["POSTGRES_USER"], "PGPASSWORD": given["POSTGRES_PASSWORD"]}
            subprocess.run([POSTGRES / "createdb", given["POSTGRES_DB"]], env=env, check=True)
            yield
        finally:
            server.terminate()
            server.wait(60)
    finally:
        shutil.rmtree(home)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prefect]:
    """PostgreSQL, server and the profile `local`, and how a person speaks with them."""
    if POSTGRES is None:
        pytest.skip("PostgreSQL is not here (Debian: postgresql)")
    folder, services = tmp_path_factory.mktemp("compose"), Services()
    home = folder / "home"
    home.mkdir()
    url = f"http://127.0.0.1:{services.ports['server:4200']}/api"
    name, _, word = ENV["PREFECT_AUTH"].partition(":")
    with (
        postgres(services),
        httpx.Client(
            base_url=f"{url}/", auth=(name, word), trust_env=False, timeout=60, transport=PatientTransport()
        ) as api,
        running_process("server", services.command("server"), folder, services.environment("server", home)) as server,
    ):
        wait_until_answers(api, "health", server)
        assert services.is_healthy("server", services.environment("server", home))
        environment = services.environment("worker", home)
        with running_process("worker", services.command("worker"), folder, environment):
            until(lambda: api.get("work_pools/local").is_success, "the worker makes no pool")
            yield Prefect(folder=folder, environment=environment, api=api)
    if left := left_over(home):
        raise AssertionError(f"processes are left over: {left}")


@pytest.mark.e2e
@pytest.mark.slow
def test_its_services_carry_a_composite_over_shards(stack: Prefect, scenes: Path, tmp_path: Path) -> None:
    place = copy_of_prefect_yaml(stack.folder / "deploy").parent
    done = stack.command("prefect", "--no-prompt", "deploy", "--all", cwd=place)
    assert done.returncode == 0, done.stdout + done.stderr
    job: dict[str, Any] = {"scenes": str(scenes), "period": "2023", "tile_size": 16, "layers": ["count", "source"]}
    shards = {"out": str(tmp_path / "out"), "work_pool": "local", "windows_per_shard": 4}
    run = stack.submit("median-composite/on-demand", job={**job, **shards})
    state = stack.wait_for(run)
    assert state["name"] == "Completed", state["message"]
    finished(scenes, tmp_path / "alone", layers=["count", "source"])
    made, alone = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in sorted((tmp_path / name).rglob("*.tif"))}
        for name in ("out", "alone")
    )
    assert len(made) == 3 * (12 + 1)
    assert made == alone
    # Who has no password is not let in, and the page asks for the server where it came from.
    assert httpx.get(f"{stack.api.base_url}flow_runs/{run}", trust_env=False).status_code == 401
    page = httpx.get(str(stack.api.base_url).replace("/api/", "/ui-settings"), trust_env=False).json()
    assert page["api_url"] == "/api"
    # All of it is in PostgreSQL: Prefect's own choice would be a file of SQLite's.
    assert not list((stack.folder / "home").rglob("*.db"))


@pytest.mark.e2e
@pytest.mark.slow
def test_the_cloud_run_workers_health_check_listens_at_loopback_alone(prefect: Prefect, tmp_path: Path) -> None:
    """By its own command and settings, on a port that is free here."""
    services, port = Services(), free_port()
    services.ports["server:4200"] = httpx.URL(prefect.environment["PREFECT_API_URL"]).port or 0
    environment = services.environment("cloud-run-worker", tmp_path)
    environment["PREFECT_WORKER_WEBSERVER_PORT"] = str(port)
    command = services.command("cloud-run-worker")
    with (
        httpx.Client(base_url=f"http://127.0.0.1:{port}/", trust_env=False, timeout=60) as api,
        running_process("worker", command, tmp_path, environment) as worker,
    ):
        wait_until_answers(api, "health", worker)
        assert listeners(port) == {"0100007F"}
    assert left_over(tmp_path) == []


def listeners(port: int) -> set[str]:
    """The addresses somebody listens at with this port, in /proc's hexadecimal."""
    found = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        for line in table.read_text().splitlines()[1:] if table.exists() else ():
            (address, _, number), state = line.split()[1].partition(":"), line.split()[3]
            if int(number, 16) == port and state == "0A":
                found.add(address)
    return found
