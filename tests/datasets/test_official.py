"""Official files: pinned hashes, caches, and downloads from a local server."""

import contextlib
import dataclasses
import errno
import fcntl
import functools
import hashlib
import http.server
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trajectory_adacat.datasets import load_dataset, official
from trajectory_adacat.datasets.official import OfficialFile, fetch_official, official_file
from trajectory_adacat.errors import DataError, InputError
from trajectory_adacat.robots import official_datasets

NAME = "hopper-medium-v2"
FILE_NAME = "hopper_medium-v2.hdf5"
CONTENT = bytes(range(256)) * 4000
LONGEST_STALL = 60.0  # seconds, so that a client without a timeout ends too
PINNED = OfficialFile(FILE_NAME, len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


@dataclasses.dataclass
class Behaviour:
    """The server's behaviour; ``requests`` lists the Range headers that it received."""

    content: bytes = CONTENT
    ranges: bool = True
    cut_after: int | None = None  # bytes after which a response is cut off
    status: int | None = None
    redirect: str | None = None  # to this address, once
    trickle: bool = False  # a byte at a time, with pauses, for ever
    # For each of the next responses: the bytes after which it waits for `go_on`; None: before its headers.
    stalls: list[int | None] = dataclasses.field(default_factory=list)
    go_on: threading.Event = dataclasses.field(default_factory=threading.Event)
    requests: list[str] = dataclasses.field(default_factory=list)


class Handler(http.server.BaseHTTPRequestHandler):
    def __init__(self, behaviour: Behaviour, *args: Any) -> None:
        self.behaviour = behaviour
        super().__init__(*args)

    def do_GET(self) -> None:
        behaviour = self.behaviour
        behaviour.requests.append(self.headers["Range"])
        stall = behaviour.stalls.pop(0) if behaviour.stalls else len(behaviour.content)
        if stall is None:
            behaviour.go_on.wait(LONGEST_STALL)
            return
        if behaviour.redirect and self.headers["Host"].startswith("127.0.0.1"):
            self.send_response(302)
            self.send_header("Location", f"{behaviour.redirect}/{FILE_NAME}")
            self.end_headers()
            return
        if behaviour.status or not self.path.endswith(f"/data/{FILE_NAME}"):
            self.send_error(behaviour.status or 404)
            return
        start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")) if behaviour.ranges else 0
        if start >= len(behaviour.content):
            self.send_error(416)
            return
        body = behaviour.content[start:]
        self.send_response(206 if behaviour.ranges else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if behaviour.trickle:
            self._trickle(body[: behaviour.cut_after])
        elif stall < len(body):
            with contextlib.suppress(ConnectionError):  # the client has left
                self.wfile.write(body[:stall])
                behaviour.go_on.wait(LONGEST_STALL)
                self.wfile.write(body[stall:])
        else:
            self.wfile.write(body[: behaviour.cut_after])

    def _trickle(self, body: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # the client has left
            for byte in body:
                self.wfile.write(bytes([byte]))
                time.sleep(0.01)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Behaviour]:
    """A server with a small pinned file, and an empty cache."""
    behaviour = Behaviour()
    running = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, behaviour))
    threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setattr(official, "BASE_URL", f"http://127.0.0.1:{running.server_port}/data")
    yield behaviour
    behaviour.go_on.set()
    running.shutdown()
    running.server_close()


def part() -> Path:
    return PINNED.target.with_name(FILE_NAME + ".part")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_all_24_files_are_pinned() -> None:
    datasets = official_datasets()
    pinned = [official_file(dataset) for dataset in datasets.values()]
    assert len(pinned) == len({file.sha256 for file in pinned}) == 24
    assert official_file(datasets["halfcheetah-medium-replay-v2"]) == OfficialFile(
        "halfcheetah_medium_replay-v2.hdf5",
        59448533,
        "48d494a4770c11f48260736dec090b78bdca8375647ed4d24bfa5b6610c7f683",
    )
    url = "http://rail.eecs.berkeley.edu/datasets/offline_rl/gym_mujoco_v2/hopper_full_replay-v2.hdf5"
    assert official_file(datasets["hopper-full-replay-v2"]).url == url


def test_a_missing_file_is_downloaded_once(server: Behaviour, tmp_path: Path) -> None:
    path = fetch_official(PINNED)
    assert path == tmp_path / "cache" / "d4rl" / FILE_NAME
    assert path.read_bytes() == CONTENT
    assert fetch_official(PINNED) == path
    assert server.requests == ["bytes=0-"]
    assert files(tmp_path) == [FILE_NAME]


def test_the_default_cache_is_in_the_home_folder(
    server: Behaviour, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("TRAJECTORY_ADACAT_HOME")
    assert fetch_official(PINNED) == tmp_path / "home" / ".cache" / "trajectory_adacat" / "d4rl" / FILE_NAME


def test_a_file_in_d4rls_own_cache_is_found(server: Behaviour, tmp_path: Path) -> None:
    path = tmp_path / "home" / ".d4rl" / "datasets" / FILE_NAME
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    assert fetch_official(PINNED) == path
    assert server.requests == []


def test_an_interrupted_download_is_resumed(server: Behaviour) -> None:
    server.cut_after = 300_000
    assert fetch_official(PINNED).read_bytes() == CONTENT
    assert server.requests == [f"bytes={start}-" for start in range(0, len(CONTENT), 300_000)]


def test_a_partial_file_of_an_earlier_process_is_completed(server: Behaviour) -> None:
    part().parent.mkdir(parents=True)
    part().write_bytes(CONTENT[:1234])
    assert fetch_official(PINNED).read_bytes() == CONTENT
    assert server.requests == ["bytes=1234-"]
    assert not part().exists()


def test_a_server_without_ranges_sends_the_whole_file(server: Behaviour) -> None:
    server.ranges = False
    part().parent.mkdir(parents=True)
    part().write_bytes(b"something else")
    assert fetch_official(PINNED).read_bytes() == CONTENT


def test_a_stalled_download_keeps_the_partial_file(server: Behaviour) -> None:
    part().parent.mkdir(parents=True)
    part().write_bytes(CONTENT[:1234])
    server.cut_after = 0
    with pytest.raises(InputError, match="a partial download is resumed"):
        fetch_official(PINNED)
    assert part().read_bytes() == CONTENT[:1234]
    server.cut_after = None
    assert fetch_official(PINNED).read_bytes() == CONTENT


def test_a_server_that_stalls_is_asked_again(server: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(official, "TIMEOUT", 0.2)
    server.stalls = [1000, 0, None, 5]
    assert fetch_official(PINNED).read_bytes() == CONTENT
    assert server.requests == ["bytes=0-", *["bytes=1000-"] * 3, "bytes=1005-"]


def test_a_server_that_stalls_for_ever_is_left_and_the_download_can_be_resumed(
    server: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(official, "TIMEOUT", 0.2)
    server.stalls = [1000, 0, 0, 0]
    with pytest.raises(DataError, match=r"Could not download .*timed out.*a partial download is resumed"):
        fetch_official(PINNED)
    assert part().read_bytes() == CONTENT[:1000]
    assert fetch_official(PINNED).read_bytes() == CONTENT


@pytest.mark.parametrize("cut_after", [None, 5])
def test_a_download_that_trickles_ends_and_can_be_resumed(
    server: Behaviour, monkeypatch: pytest.MonkeyPatch, cut_after: int | None
) -> None:
    monkeypatch.setattr(official, "PATIENCE", 0.2)
    server.trickle, server.cut_after = True, cut_after
    with pytest.raises(InputError, match=r"fewer than 1000 bytes a second came .* on another machine"):
        fetch_official(PINNED)
    assert part().read_bytes()
    server.trickle, server.cut_after = False, None
    assert fetch_official(PINNED).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "content",
    [CONTENT[:-1] + b"?", CONTENT + b"more", CONTENT[:-5]],
    ids=["other bytes", "longer", "shorter"],
)
def test_a_download_that_differs_from_the_pinned_file_is_deleted(
    server: Behaviour, tmp_path: Path, content: bytes
) -> None:
    server.content = content
    with pytest.raises(InputError, match=r"is not the pinned file .*was deleted"):
        fetch_official(PINNED)
    assert files(tmp_path) == []


@pytest.mark.parametrize("status", [404, 503])
def test_an_http_error_names_the_address_and_the_target(server: Behaviour, tmp_path: Path, status: int) -> None:
    server.status = status
    with pytest.raises(InputError) as caught:
        fetch_official(PINNED)
    for part_of_message in (
        PINNED.url,
        str(PINNED.target),
        str(PINNED.size),
        PINNED.sha256,
        "--dataset_path",
        str(status),
    ):
        assert part_of_message in str(caught.value)
    assert files(tmp_path) == []


def test_a_failed_connection_names_the_address_and_the_target(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TRAJECTORY_ADACAT_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("no_proxy", "127.0.0.1,localhost")
    monkeypatch.setattr(official, "BASE_URL", "http://127.0.0.1:1")  # nothing listens on this port
    with pytest.raises(InputError) as caught:
        load_dataset(NAME)
    target = tmp_path / "cache" / "d4rl" / FILE_NAME
    for part_of_message in (
        f"http://127.0.0.1:1/{FILE_NAME}",
        str(target),
        official_file(official_datasets()[NAME]).sha256,
        "--dataset_path",
    ):
        assert part_of_message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(tmp_path) == []


@pytest.mark.parametrize("content", [CONTENT[:-1], CONTENT[:-1] + b"?"], ids=["other size", "other bytes"])
def test_a_cached_file_that_differs_is_refused_and_kept(server: Behaviour, content: bytes) -> None:
    PINNED.target.parent.mkdir(parents=True)
    PINNED.target.write_bytes(content)
    with pytest.raises(InputError, match="is not the official file"):
        fetch_official(PINNED)
    assert PINNED.target.read_bytes() == content
    assert server.requests == []


def test_a_cached_file_without_the_right_to_read_it_is_named(
    server: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Root may read everything, so the refusal is simulated."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    PINNED.target.parent.mkdir(parents=True)
    PINNED.target.write_bytes(CONTENT)
    monkeypatch.setattr(official, "file_sha256", refuse)
    with pytest.raises(InputError, match=r"cannot be read for lack of permission"):
        fetch_official(PINNED)


def test_a_cache_that_is_a_file_is_named(server: Behaviour, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(InputError, match=r"Could not download .*--dataset_path"):
        fetch_official(PINNED)


def test_a_redirection_to_another_host_is_said(server: Behaviour, capsys: pytest.CaptureFixture[str]) -> None:
    server.redirect = official.BASE_URL.replace("127.0.0.1", "localhost")
    assert fetch_official(PINNED).read_bytes() == CONTENT
    assert f"is redirected to {server.redirect}/{FILE_NAME}" in capsys.readouterr().err


def test_a_second_process_does_not_write_to_the_same_partial_file(server: Behaviour) -> None:
    part().parent.mkdir(parents=True)
    with part().open("wb") as file:
        file.write(CONTENT[:1000])
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(DataError, match=r"Another process downloads .*: wait for it"):
            fetch_official(PINNED)
    assert fetch_official(PINNED).read_bytes() == CONTENT


def start_download() -> "subprocess.Popen[str]":
    """Download in a process of its own, which prints what the error is."""
    code = (
        "from trajectory_adacat.datasets import official\n"
        f"official.BASE_URL = {official.BASE_URL!r}\n"
        "try:\n"
        f"    official.fetch_official(official.OfficialFile{tuple(PINNED)})\n"
        "except official.DataError as error:\n"
        "    print(error)\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_two_processes_that_download_one_file_do_not_spoil_it(server: Behaviour, tmp_path: Path) -> None:
    server.stalls = [len(CONTENT) // 2]
    first = start_download()
    while not part().exists() or part().stat().st_size == 0:
        assert first.poll() is None
        time.sleep(0.01)
    second = start_download()
    assert "Another process downloads" in second.communicate(timeout=60)[0]
    server.go_on.set()
    assert first.communicate(timeout=60)[0] == ""
    assert first.returncode == second.returncode == 0
    assert PINNED.target.read_bytes() == CONTENT
    assert (server.requests, files(tmp_path)) == (["bytes=0-"], [FILE_NAME])


def test_a_file_that_another_process_completes_meanwhile_is_used(
    server: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The partial file is whole and free, and is checked by both."""
    file_sha256, others = official.file_sha256, [PINNED]

    def after_another_process(path: Path) -> str:
        if others:
            fetch_official(others.pop())
        else:
            return file_sha256(path)
        return PINNED.sha256

    monkeypatch.setattr(official, "file_sha256", after_another_process)
    assert fetch_official(PINNED).read_bytes() == CONTENT
    assert not part().exists()
    assert server.requests == ["bytes=0-"]


def test_a_full_disk_while_downloading_is_named_and_keeps_the_partial_file(
    server: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.cut_after = 5000
    fetch_rest = official._fetch_rest

    def fill_up(*arguments: Any) -> None:
        fetch_rest(*arguments)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(official, "_fetch_rest", fill_up)
    with pytest.raises(DataError, match=r"Could not download .*No space left on device"):
        fetch_official(PINNED)
    assert part().stat().st_size == 5000


def test_a_download_goes_through_a_proxy(server: Behaviour, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy's answer arrives though the named host does not exist."""
    address = official.BASE_URL.removesuffix("/data")
    monkeypatch.setenv("http_proxy", address)
    monkeypatch.delenv("no_proxy")
    monkeypatch.setattr("urllib.request._opener", None)  # it keeps the proxies of the first request
    monkeypatch.setattr(official, "BASE_URL", "http://no-such-host.invalid/data")
    assert fetch_official(PINNED).read_bytes() == CONTENT
