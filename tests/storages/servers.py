"""PostgreSQL and MySQL on loopback, each in a folder of its own, as a user without privileges."""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

PASSWORD = "s3cret-of-a-test"


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def program(name: str) -> str | None:
    """On the path, or where Debian hides it."""
    places = [os.environ["PATH"], "/usr/sbin", *map(str, Path("/usr/lib/postgresql").glob("*/bin"))]
    return shutil.which(name, path=os.pathsep.join(places))


def unprivileged(place: Path) -> str:
    """Servers refuse to run as root: then it is nobody, who gets the folder."""
    if os.getuid() != 0:
        return getpass.getuser()
    nobody = pwd.getpwnam("nobody")
    place.chmod(0o755)
    for above in place.parents:
        if above != Path("/") and not above.stat().st_mode & 0o001:
            above.chmod(above.stat().st_mode | 0o011)
    os.chown(place, nobody.pw_uid, nobody.pw_gid)
    return "nobody"


def run(*command: str, user: str, place: Path, **more) -> None:
    done = subprocess.run(
        command, user=None if user == getpass.getuser() else user, cwd=place,
        env={"PATH": os.environ["PATH"], "HOME": str(place), "LC_ALL": "C"},
        capture_output=True, text=True, timeout=100, check=False, **more,
    )  # fmt: skip
    assert done.returncode == 0, f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


@contextlib.contextmanager
def started(*command: str, user: str, place: Path, port: int) -> Iterator[None]:
    log = place / "server.log"
    with log.open("w") as file:
        process = subprocess.Popen(
            command, user=None if user == getpass.getuser() else user, cwd=place,
            env={"PATH": os.environ["PATH"], "HOME": str(place), "LC_ALL": "C"},
            stdout=file, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not answers(port):
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextlib.contextmanager
def postgresql(place: Path) -> Iterator[str]:
    """Its URL, with a password."""
    user, port = unprivileged(place), free_port()
    secret = place / "password"
    secret.write_text(PASSWORD)
    secret.chmod(0o644)
    data = str(place / "data")
    run(
        program("initdb"), "-D", data, "-U", "sweeper", "-A", "scram-sha-256",
        "--pwfile", str(secret), "-E", "UTF8", "--no-sync", user=user, place=place,
    )  # fmt: skip
    command = (
        program("postgres"), "-D", data, "-h", "127.0.0.1", "-p", str(port), "-k", str(place),
        "-c", "fsync=off", "-c", "shared_buffers=16MB",
    )  # fmt: skip
    with started(*command, user=user, place=place, port=port):
        yield f"postgresql+psycopg2://sweeper:{PASSWORD}@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def mysql(place: Path) -> Iterator[str]:
    """Debian's is MariaDB."""
    user, port = unprivileged(place), free_port()
    data = str(place / "data")
    run(
        program("mariadb-install-db"), "--no-defaults", f"--datadir={data}", f"--user={user}",
        "--auth-root-authentication-method=normal", "--skip-test-db", user=user, place=place,
    )  # fmt: skip
    first = place / "first.sql"
    first.write_text(  # a statement a line
        "CREATE DATABASE studies CHARACTER SET utf8mb4;\n"
        f"CREATE USER 'sweeper'@'%' IDENTIFIED BY '{PASSWORD}';\n"
        "GRANT ALL ON studies.* TO 'sweeper'@'%';\n"
    )
    first.chmod(0o644)
    command = (
        program("mariadbd"), "--no-defaults", f"--datadir={data}", "--bind-address=127.0.0.1",
        f"--port={port}", f"--socket={place}/s", f"--pid-file={place}/pid", f"--init-file={first}",
        "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=32M",
    )  # fmt: skip
    with started(*command, user=user, place=place, port=port):
        yield f"mysql+pymysql://sweeper:{PASSWORD}@127.0.0.1:{port}/studies"
