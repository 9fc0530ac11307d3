"""Getting data sets, from a server in this process: resumed, verified, unpacked, opened; never the network."""

from __future__ import annotations

import hashlib
import io
import json
import re
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image

from segwright import api
from segwright.cli import main
from segwright.contracts import DataError, UserError
from segwright.data import DATASETS
from segwright.data import get as module
from segwright.data.get import Progress, checksums, download, fetch, missing_bytes
from segwright.data.recognise import DEFAULT_LABELS
from segwright.data.sources import MANUAL, SOURCES, Archive, Source
from segwright.labels import load_label_space

from .files import mask, photo


@dataclass
class Server:
    """Serves `content`; `script` says what the next requests meet: a status, or bytes after which it hangs up."""

    content: dict[str, bytes] = field(default_factory=dict)
    script: list[int | str] = field(default_factory=list)
    asked: list[str | None] = field(default_factory=list)
    etag: str = '"one"'
    ranges: bool = True
    lengths: bool = True
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        state: Server = self.server.state  # type: ignore[attr-defined]
        wanted = self.headers.get("Range")
        state.asked.append(wanted)
        step = state.script.pop(0) if state.script else ""
        body = state.content.get(self.path)
        if isinstance(step, int) or body is None:
            return self.reply(step if isinstance(step, int) else 404, b"no")
        start, status, headers = 0, 200, {"ETag": state.etag}
        if wanted and state.ranges and self.headers.get("If-Range", state.etag) == state.etag:
            start, status = int(wanted.removeprefix("bytes=").rstrip("-")), 206
            if start >= len(body):
                return self.reply(416, b"", {"Content-Range": f"bytes */{len(body)}"})
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        rest = body[start:]
        self.reply(status, rest[: int(step)] if step else rest, headers, length=len(rest) if state.lengths else None)

    def reply(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, length: int | None = -1
    ) -> None:
        self.send_response(status)
        for key, value in (headers or {}).items():
            self.send_header(key, value)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length == -1 else length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.state = state  # type: ignore[attr-defined]
    state.address = f"http://127.0.0.1:{http.server_address[1]}"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def camvid_zip(top: str = "repo-main/CamVid", counts: dict[str, int] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.writestr("repo-main/README.md", "hello")
        for split, count in (counts or {"train": 3, "val": 2}).items():
            for i in range(count):
                out.writestr(f"{top}/{split}/0001TP_{i}.png", png(photo(seed=i)))
                out.writestr(f"{top}/{split}annot/0001TP_{i}.png", png(mask(values=range(12), seed=i)))
    return buffer.getvalue()


CONTENT = camvid_zip()
QUIET = (lambda _done, _total: None, 0.0)


def source(server: Server, **archive: object) -> Source:
    server.content.setdefault("/camvid.zip", CONTENT)
    one = Archive(url=f"{server.address}/camvid.zip", size=len(CONTENT), only="repo-main/CamVid")
    return replace(
        SOURCES["camvid"],
        archives=(replace(one, **archive),),  # type: ignore[arg-type]
        unpacked=10_000,
        splits={"train": 3, "val": 2},
    )


def showing(_: str) -> AbstractContextManager[Progress]:
    return nullcontext(lambda _done, _total: None)


def run(one: Source, folder: Path, **more: object) -> dict[str, int]:
    labels = load_label_space(DEFAULT_LABELS["camvid"])
    return fetch("camvid", one, DATASETS["camvid"], labels, folder, showing=showing, pause=0.0, **more)  # type: ignore[arg-type]


def listing(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


# downloading


@pytest.mark.parametrize("lengths", [True, False])
def test_a_file_comes_whole(server: Server, tmp_path: Path, lengths: bool) -> None:
    server.content["/a"], server.lengths = bytes(range(256)) * 9000, lengths
    seen: list[tuple[int, int]] = []
    part = download(f"{server.address}/a", tmp_path / "a.part", progress=lambda *at: seen.append(at), pause=0)
    assert part.read_bytes() == server.content["/a"]
    assert seen[-1] == (len(server.content["/a"]), len(server.content["/a"]) if lengths else 0)


def test_a_download_goes_on_where_it_broke_off(server: Server, tmp_path: Path) -> None:
    server.content["/a"] = bytes(range(256)) * 400
    server.script = ["1000", 503, "30000", 429, ""]
    part = download(f"{server.address}/a", tmp_path / "a.part", progress=QUIET[0], pause=0)
    assert part.read_bytes() == server.content["/a"]
    assert server.asked == [None, "bytes=1000-", "bytes=1000-", "bytes=31000-", "bytes=31000-"]


def test_another_run_goes_on_too(server: Server, tmp_path: Path) -> None:
    server.content["/a"] = bytes(range(256)) * 400
    server.script = ["5000", *[500] * module.ATTEMPTS]
    with pytest.raises(UserError, match=r"goes on after the 5,000 bytes in .*a\.part"):
        download(f"{server.address}/a", tmp_path / "a.part", progress=QUIET[0], pause=0)
    server.asked.clear()
    server.script.clear()
    part = download(f"{server.address}/a", tmp_path / "a.part", progress=QUIET[0], pause=0)
    assert part.read_bytes() == server.content["/a"]
    assert server.asked == ["bytes=5000-"]
    server.asked.clear()
    download(f"{server.address}/a", part, progress=QUIET[0], pause=0)  # complete, but killed before it was verified
    assert server.asked == [f"bytes={len(server.content['/a'])}-"]
    assert part.read_bytes() == server.content["/a"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_that_changed_meanwhile_starts_again(server: Server, tmp_path: Path, ranges: bool) -> None:
    server.content["/a"] = b"old" * 5000
    server.script = ["100", *[500] * module.ATTEMPTS]
    with pytest.raises(UserError):
        download(f"{server.address}/a", tmp_path / "a.part", progress=QUIET[0], pause=0)
    server.content["/a"], server.etag, server.ranges = b"new!" * 5000, '"two"', ranges
    server.script.clear()
    part = download(f"{server.address}/a", tmp_path / "a.part", progress=QUIET[0], pause=0)
    assert part.read_bytes() == b"new!" * 5000


def test_offline_and_wrong_addresses_are_named(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ATTEMPTS", 2)
    with pytest.raises(UserError, match="not downloaded in 2 attempts .*offline"):
        download("http://127.0.0.1:9/a", tmp_path / "a", progress=QUIET[0], pause=0)
    with pytest.raises(UserError, match="HTTP 404.*by hand"):
        download(f"{server.address}/none", tmp_path / "a", progress=QUIET[0], pause=0)
    assert len(server.asked) == 1  # no second attempt
    server.content["/a"], server.script = b"x" * 10, ["4", "4"]
    server.ranges = False
    with pytest.raises(UserError, match="RemoteProtocolError"):
        download(f"{server.address}/a", tmp_path / "b", progress=QUIET[0], pause=0)


def test_checksums_are_hashlibs(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(CONTENT)
    found = checksums(path, {"md5", "sha1", "sha256"}, progress=QUIET[0])
    assert found == {kind: hashlib.new(kind, CONTENT).hexdigest() for kind in ("md5", "sha1", "sha256")}


# the whole way


@pytest.mark.parametrize("kind", [None, "md5", "sha1", "sha256"])
def test_the_whole_way(server: Server, tmp_path: Path, kind: str | None) -> None:
    checksum = kind and f"{kind}:{hashlib.new(kind, CONTENT).hexdigest()}"
    server.script = ["500", 503, ""]
    one = source(server, checksum=checksum)
    assert missing_bytes("camvid", one, tmp_path) == len(CONTENT) + 10_000
    assert run(one, tmp_path) == {"train": 3, "val": 2}
    assert listing(tmp_path) == [".segwright-get.json", "camvid"]
    assert listing(tmp_path / "camvid") == ["train", "trainannot", "val", "valannot"]
    record = json.loads((tmp_path / ".segwright-get.json").read_text())
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    assert record == {one.archives[0].url: {"sha256": sha256, "bytes": len(CONTENT), "checksum": checksum}}
    server.asked.clear()
    assert run(one, tmp_path) == {"train": 3, "val": 2}  # it is there: only looked at
    assert server.asked == []
    assert missing_bytes("camvid", one, tmp_path) == 0


def test_archives_may_stay_and_are_used_again(server: Server, tmp_path: Path) -> None:
    run(source(server), tmp_path, keep_archives=True)
    assert listing(tmp_path / ".downloads") == ["camvid.zip"]
    (tmp_path / "camvid").rename(tmp_path / "elsewhere")
    server.asked.clear()
    run(source(server), tmp_path)
    assert server.asked == []
    assert not (tmp_path / ".downloads").exists()


def test_several_archives_into_their_folders(server: Server, tmp_path: Path) -> None:
    one = source(server)
    for split in ("train", "val"):
        server.content[f"/{split}.zip"] = camvid_zip(counts={split: 3 if split == "train" else 2})
    parts = [("train", "train"), ("train", "trainannot"), ("val", "val"), ("val", "valannot")]
    archives = [
        Archive(url=f"{server.address}/{s}.zip?{into}", size=1, only=f"repo-main/CamVid/{into}", into=into)
        for s, into in parts
    ]
    server.content |= {f"/{s}.zip?{into}": server.content[f"/{s}.zip"] for s, into in parts}
    assert run(replace(one, archives=tuple(archives)), tmp_path) == {"train": 3, "val": 2}


def test_a_wrong_checksum_is_kept_aside(server: Server, tmp_path: Path) -> None:
    wrong = "0" * 32
    with pytest.raises(DataError) as caught:
        run(source(server, checksum=f"md5:{wrong}"), tmp_path)
    aside = tmp_path / ".downloads" / "camvid.zip.part.wrong"
    for said in (wrong, hashlib.md5(CONTENT).hexdigest(), str(aside), "published"):
        assert said in str(caught.value)
    assert aside.read_bytes() == CONTENT
    assert not (tmp_path / "camvid").exists()
    assert not (tmp_path / ".segwright-get.json").exists()


def test_other_content_than_the_last_time_is_refused(server: Server, tmp_path: Path) -> None:
    run(source(server), tmp_path)
    (tmp_path / "camvid").rename(tmp_path / "old")
    server.content["/camvid.zip"] = camvid_zip(counts={"train": 3, "val": 1})
    with pytest.raises(DataError, match=r"written down in .*\.segwright-get\.json"):
        run(source(server), tmp_path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (camvid_zip(counts={"train": 2, "val": 2}), "split 'train' of camvid has 2 pictures; it should have 3"),
        (camvid_zip(counts={"train": 3}), "holds no complete camvid"),
        (camvid_zip(top="repo-main/Other"), "holds no file below 'repo-main/CamVid'"),
        (CONTENT[:-500], "damaged"),
        (b"<html>sorry</html>", "damaged"),
    ],
)
def test_what_is_not_the_data_set_does_not_appear(server: Server, tmp_path: Path, content: bytes, said: str) -> None:
    server.content["/camvid.zip"] = content
    with pytest.raises(DataError, match=re.escape(said)):
        run(source(server), tmp_path)
    assert "camvid" not in listing(tmp_path)
    assert not [name for name in listing(tmp_path) if "unpacking" in name]


# the verb


def test_the_verb_asks_for_the_licence_first(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sources = {"camvid": source(server)}
    with pytest.raises(UserError, match=f"segwright data get camvid --into {tmp_path} --accept-licence"):
        api.get_data("camvid", into=tmp_path, sources=sources)
    assert server.asked == []
    assert "CC BY-NC 4.0" in capsys.readouterr().out
    assert listing(tmp_path) == []
    found = api.get_data("camvid", into=tmp_path, accept_licence=True, sources=sources)
    assert (found.path, found.splits) == (tmp_path / "camvid", {"train": 3, "val": 2})
    again = api.get_data("camvid", into=tmp_path, sources=sources)  # it is there: nothing to accept
    assert again.splits == found.splits


def test_too_little_space_is_said_before(server: Server, tmp_path: Path) -> None:
    huge = replace(source(server), unpacked=10**18)
    with pytest.raises(UserError, match=r"still needs about 1000000000\.0 GB; free are"):
        api.get_data("camvid", into=tmp_path, accept_licence=True, sources={"camvid": huge})
    assert server.asked == []


@pytest.mark.parametrize("name", MANUAL)
def test_data_sets_to_fetch_by_hand_say_how(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["data", "get", name, "--accept-licence"])
    assert caught.value.code == 2
    text = capsys.readouterr().err
    for said in (MANUAL[name].licence, MANUAL[name].page, *MANUAL[name].files, MANUAL[name].unpack):
        assert said in text


def test_unknown_names_are_refused_and_the_list_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="Did you mean 'camvid'.*with registration: cityscapes, suim"):
        api.get_data("canvid")
    with pytest.raises(SystemExit) as caught:
        main(["data", "get"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in (*SOURCES, *MANUAL))


@pytest.mark.parametrize("name", SOURCES)
def test_sources_are_complete(name: str) -> None:
    one = SOURCES[name]
    assert name in DATASETS
    assert name in DEFAULT_LABELS
    assert one.licence
    assert one.page.startswith("http")
    assert len({a.file for a in one.archives}) == len(one.archives)
    for archive in one.archives:
        assert archive.url.startswith(("https://", "http://"))
        assert archive.file.endswith((".zip", ".tar", ".tgz"))
        kind, _, value = (archive.checksum or "md5:" + "0" * 32).partition(":")
        assert len(value) == 2 * hashlib.new(kind).digest_size
    assert one.unpacked >= one.size * 0.9
