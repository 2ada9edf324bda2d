"""What ``doctor`` says of the hosts in a hostfile: whether the deepspeed launcher could reach them."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from sweeper.core.finding import Finding, ok, warning

CONNECT_SECONDS = 5
ANSWER_SECONDS = 10.0
AT_ONCE = 64
_ENTRY = re.compile(r"([^\s-]\S*)\s+slots=(\d+)")  # as DeepSpeed reads it
# What ssh says -> what to do.
_ADVICE = (
    ("host key verification", "type ssh-keyscan -H {host} >> ~/.ssh/known_hosts"),
    ("permission denied", "type ssh-copy-id {host}"),
    (
        "resolve",
        "correct its name in the hostfile, or add it to /etc/hosts; type getent hosts {host}",
    ),
)


def hosts_in(text: str) -> tuple[dict[str, int], list[Finding]]:
    """Slots by host, and what DeepSpeed would not take."""
    hosts: dict[str, int] = {}
    wrong = []
    for number, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        entry = _ENTRY.match(line)
        if entry is None:
            what = "is no <host> slots=<number>"
        elif entry[1] in hosts:
            what = f"has {entry[1]} a second time"
        else:
            hosts[entry[1]] = int(entry[2])
            continue
        wrong.append(
            warning(
                "hostfile",
                f"line {number}, {line!r}, {what}; DeepSpeed takes none of the file then",
                "write for example: node1 slots=8",
            )
        )
    return hosts, wrong


def host_findings(hostfile: Path) -> Iterator[Finding]:
    """The file, the programs that reach its hosts, and each host; hosts are asked at once."""
    try:
        hosts, wrong = hosts_in(hostfile.read_text(errors="replace"))
    except OSError as error:
        yield warning(
            "hostfile",
            f"{hostfile} cannot be read: {error.strerror}",
            "type --hostfile <file>"
            if hostfile.is_dir()
            else f"write it: type echo 'node1 slots=8' > {hostfile}",
        )
        return
    yield from wrong
    if not hosts and not wrong:
        yield warning("hostfile", f"{hostfile} names no host", "write for example: node1 slots=8")
    elif hosts and not wrong:
        yield ok("hostfile", f"{len(hosts)} host(s), {sum(hosts.values())} slot(s)")
    yield _pdsh()
    if (path := shutil.which("ssh")) is None:
        yield warning(
            "ssh",
            "there is no ssh on PATH; no host is asked",
            "type apt-get install openssh-client",
        )
        return
    yield ok("ssh", path)
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        yield from pool.map(_ask, hosts)


def most_seconds(hostfile: Path) -> float:
    """How long the slowest answers may take."""
    try:
        num_hosts = len(hosts_in(hostfile.read_text(errors="replace"))[0])
    except OSError:
        num_hosts = 0
    return 10 + ANSWER_SECONDS * (1 + num_hosts // AT_ONCE)


def _pdsh() -> Finding:
    if path := shutil.which("pdsh"):
        return ok("pdsh", path)
    return warning(
        "pdsh",
        "there is no pdsh on PATH, with which the deepspeed launcher starts other hosts",
        "type apt-get install pdsh; or give deepspeed --launcher openmpi, mpich or slurm",
    )


def _ask(host: str) -> Finding:
    """By ssh, without a password, as the deepspeed launcher does; for the same Python and folder."""
    name = f"host {host}"
    look = (
        f"test -x {shlex.quote(sys.executable)} || echo lacks {shlex.quote(sys.executable)}; "
        f"test -d {shlex.quote(os.getcwd())} || echo lacks {shlex.quote(os.getcwd())}"
    )
    started = time.monotonic()
    try:
        answer = subprocess.run(
            [*_command(host), look],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=ANSWER_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        silent = f"no answer within {ANSWER_SECONDS:g} s"
        return warning(name, f"not reachable: {silent}", _advice(silent, host))
    if answer.returncode != 0:
        said = (answer.stderr.strip().splitlines() or [f"exit code {answer.returncode}"])[-1]
        return warning(name, f"not reachable: {said}", _advice(said, host))
    lacks = [line for line in answer.stdout.splitlines() if line.startswith("lacks ")]
    if lacks:
        return warning(
            name,
            f"reachable, but {'; '.join(lacks)}",
            "the launcher wants both at the same path on every host: share the file system, or copy them",
        )
    seconds = time.monotonic() - started
    return ok(name, f"answers in {seconds:.1f} s; has the same Python and folder")


def _command(host: str) -> Sequence[str]:
    options = ("BatchMode=yes", f"ConnectTimeout={CONNECT_SECONDS}", "PasswordAuthentication=no")
    return ["ssh", *(word for option in options for word in ("-o", option)), "--", host]


def _advice(said: str, host: str) -> str:
    for part, advice in _ADVICE:
        if part in said.lower():
            return advice.format(host=host)
    return f"start it, or take it out of the hostfile; type ssh -v {host} true"
