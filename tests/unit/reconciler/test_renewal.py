"""Files that were named at start and change: their content is used, what is no use is refused, both are reported."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from curation.reconciler.runtime import file_watch as renewal
from curation.reconciler.runtime.file_watch import FileWatch, RenewedFiles
from curation.reconciler.runtime.metrics import Metrics
from tests.unit.reconciler.virtual_time import in_virtual_time


class Text:
    """What was made of a file; "bad" is no use."""

    def __init__(self, *paths: Path) -> None:
        self.paths = list(paths)
        self.text = paths[0].read_text()
        self.reads = 0
        self.accepts = False

    async def renew(self) -> None:
        self.reads += 1
        text = self.paths[0].read_text()
        if text.startswith("bad") and not self.accepts:
            raise ValueError("it is bad")
        self.text = text


def watch(made: Text) -> tuple[FileWatch, list[tuple[str, bool]]]:
    reported: list[tuple[str, bool]] = []
    return FileWatch(
        {"it": RenewedFiles(lambda: made.paths, made.renew)}, lambda *each: reported.append(each)
    ), reported


@in_virtual_time
async def test_what_was_refused_is_tried_again_though_the_file_has_not_changed_and_reported_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What it names, an exec plugin for one, may be there a moment later."""
    file = tmp_path / "file"
    file.write_text("1")
    made = Text(file)
    reported: list[tuple[str, bool]] = []
    files = FileWatch(
        {"it": RenewedFiles(lambda: made.paths, made.renew)},
        lambda *each: reported.append(each),
        asyncio.get_running_loop().time,
    )
    file.write_text("bad")
    watching = asyncio.create_task(files.run())
    await asyncio.sleep(renewal.RETRY_SECONDS * 3.5)
    assert made.reads == 4
    assert (reported, caplog.text.count("cannot be used")) == ([("it", False)], 1)
    stamps = file.stat()
    made.accepts = True
    await asyncio.sleep(renewal.RETRY_SECONDS * 2)
    assert (made.text, reported) == ("bad", [("it", False), ("it", True)])
    assert file.stat() == stamps
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


def rewrite(path: Path, text: str) -> None:
    path.write_text(text)


def replace(path: Path, text: str) -> None:
    new = path.with_name("new")
    new.write_text(text)
    new.rename(path)


def remake(path: Path, text: str) -> None:
    path.unlink()
    path.write_text(text)


@pytest.mark.parametrize("change", [rewrite, replace, remake])
async def test_a_changed_file_is_used_once_it_has_changed(tmp_path: Path, change: Callable[[Path, str], None]) -> None:
    file = tmp_path / "file"
    file.write_text("1")
    made = Text(file)
    files, reported = watch(made)
    await files.check()
    assert (made.reads, reported) == (0, [])
    change(file, "22")
    await files.check()
    await files.check()
    assert (made.text, made.reads, reported) == ("22", 1, [("it", True)])


def mounted(folder: Path, version: str, text: str) -> None:
    """Write a volume as a kubelet does: the files are links through `..data`, which is exchanged as a whole."""
    (folder / version).mkdir()
    (folder / version / "ca.crt").write_text(text)
    (folder / "..new").symlink_to(version)
    (folder / "..new").rename(folder / "..data")
    if not (folder / "ca.crt").is_symlink():
        (folder / "ca.crt").symlink_to(Path("..data") / "ca.crt")


async def test_a_volume_of_kubernetes_that_is_renewed_is_seen_though_size_and_time_are_the_same(tmp_path: Path) -> None:
    mounted(tmp_path, "..v1", "1")
    made = Text(tmp_path / "ca.crt")
    files, reported = watch(made)
    mounted(tmp_path, "..v2", "2")
    await files.check()
    assert (made.text, reported) == ("2", [("it", True)])


async def test_what_is_no_use_is_refused_loudly_once_and_the_old_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_text("1")
    made = Text(file)
    files, reported = watch(made)
    file.write_text("bad")
    for _ in range(3):
        await files.check()
    assert (made.text, reported) == ("1", [("it", False)])
    (line,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert line.getMessage() == "it has changed and cannot be used, going on with what was read before: it is bad"
    file.unlink()
    await files.check()
    assert (made.text, reported[1:]) == ("1", [("it", False)])
    file.write_text("good")
    await files.check()
    assert (made.text, reported[2:]) == ("good", [("it", True)])


async def test_a_file_that_is_named_only_from_now_on_is_watched_too(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("1")
    second.write_text("x")
    made = Text(first)
    files, _ = watch(made)
    made.paths.append(second)
    first.write_text("11")
    await files.check()
    second.write_text("xx")
    await files.check()
    assert made.reads == 2


async def test_one_that_cannot_be_renewed_does_not_keep_another_from_it(tmp_path: Path) -> None:
    bad, good = tmp_path / "bad", tmp_path / "good"
    for file in (bad, good):
        file.write_text("1")
    texts = Text(bad), Text(good)
    reported: list[tuple[str, bool]] = []
    sources = {each.paths[0].name: RenewedFiles(lambda each=each: each.paths, each.renew) for each in texts}  # type: ignore[misc]
    files = FileWatch(sources, lambda *each: reported.append(each))
    bad.write_text("bad")
    good.write_text("good")
    await files.check()
    assert reported == [("bad", False), ("good", True)]


@in_virtual_time
async def test_it_checks_again_and_again() -> None:
    checks = 0

    def files() -> list[Path]:
        nonlocal checks
        checks += 1
        return []

    async def renew() -> None: ...

    running = asyncio.create_task(FileWatch({"it": RenewedFiles(files, renew)}, lambda *_: None).run())
    await asyncio.sleep(10.5 * renewal.FILE_CHECK_SECONDS)
    running.cancel()
    assert checks == 11


def test_the_metrics_show_that_an_old_version_is_in_use() -> None:
    metrics = Metrics()
    metrics.file_renewed("ca-bundle", False)
    assert 'curation_file_refused{source="ca-bundle"} 1.0' in text_of(metrics.registry)
    metrics.file_renewed("ca-bundle", True)
    found = text_of(metrics.registry)
    assert 'curation_file_refused{source="ca-bundle"} 0.0' in found
    assert 'curation_file_renewals_total{result="refused",source="ca-bundle"} 1.0' in found
    assert 'curation_file_renewals_total{result="loaded",source="ca-bundle"} 1.0' in found


def text_of(registry: CollectorRegistry) -> str:
    return generate_latest(registry).decode()
