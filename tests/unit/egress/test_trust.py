"""Whom the client trusts, when the files that say so change: what is no use is refused, and the old stays."""

import asyncio
import ssl
from pathlib import Path

import pytest

from curation.egress.trust import Trust, _Prepared, prepare
from tests.harness.certificates import self_signed


def authority(folder: Path, name: str) -> bytes:
    """A certificate of this name, PEM."""
    pem, _ = self_signed(folder, name)
    return pem.read_bytes()


@pytest.fixture
def system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the system's authorities, with one; its folder has none."""
    file, folder = tmp_path / "system-file", tmp_path / "none"
    folder.mkdir()
    file.write_bytes(authority(tmp_path, "system"))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    return file


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """What --ca-bundle names, with one authority."""
    file = tmp_path / "bundle-file"
    file.write_bytes(authority(tmp_path, "bundle"))
    return file


def names(trust: Trust) -> set[str]:
    """The common names of the authorities."""
    subjects = [dict(part[0] for part in each["subject"]) for each in trust.context.get_ca_certs()]  # type: ignore[misc]
    return {subject["commonName"] for subject in subjects}


@pytest.mark.parametrize("which", ["system", "bundle"])
@pytest.mark.parametrize("broken", ["empty", "cut", "no certificate", "gone"])
async def test_a_file_that_is_no_use_any_more_changes_nothing(
    tmp_path: Path, system: Path, bundle: Path, which: str, broken: str
) -> None:
    trust = Trust(bundle)
    assert names(trust) == {"system", "bundle"}
    assert list(trust.files()) == [system, bundle]
    file = system if which == "system" else bundle
    before, context = file.read_bytes(), trust.context
    match broken:
        case "gone":
            file.unlink()
        case "empty":
            file.write_bytes(b"")
        case "cut":
            file.write_bytes(before + before[: len(before) // 2])
        case _:
            file.write_bytes(b"hello")
    with pytest.raises(OSError):
        await trust.renew()
    assert trust.context is context
    assert list(trust.files()) == [system, bundle]
    file.write_bytes(authority(tmp_path, "new"))
    await trust.renew()
    assert names(trust) == {"system", "bundle", "new"} - {which}


def test_a_file_of_the_systems_that_was_no_use_at_start_is_left_out(system: Path, bundle: Path) -> None:
    system.write_bytes(b"")
    for trust, files in ((Trust(), []), (Trust(bundle), [bundle])):
        assert list(trust.files()) == files
        assert trust.context.verify_mode is ssl.CERT_REQUIRED
        asyncio.run(trust.renew())


@pytest.fixture
def nothing_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    """No process has prepared anything for this one; what a test prepares goes with it."""
    monkeypatch.setattr(_Prepared, "now", None)


@pytest.mark.usefixtures("nothing_prepared")
def test_what_a_template_has_prepared_counts_until_a_file_of_it_changes(
    tmp_path: Path, system: Path, bundle: Path
) -> None:
    prepare()
    assert Trust().context is Trust(at_once=False).context
    assert names(Trust()) == {"system"}
    assert names(Trust(bundle)) == {"system", "bundle"}
    assert names(Trust()) == {"system"}, "the bundle of another one is not in it"
    system.write_bytes(authority(tmp_path, "new"))
    assert names(Trust()) == {"new"}


@pytest.mark.usefixtures("nothing_prepared")
def test_what_a_template_has_prepared_is_not_used_where_the_files_are_others(
    tmp_path: Path, system: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare()
    other = tmp_path / "other-file"
    other.write_bytes(authority(tmp_path, "other"))
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    assert names(Trust()) == {"other"}


@pytest.mark.usefixtures("nothing_prepared")
def test_a_template_prepares_nothing_from_a_file_that_is_no_use(system: Path) -> None:
    system.write_bytes(b"")
    prepare()
    assert _Prepared.now is None


def test_authorities_that_are_taken_later_are_those_of_the_last_replacement(system: Path, bundle: Path) -> None:
    trust = Trust(b"hello", at_once=False)
    with pytest.raises(OSError):
        _ = trust.context
    trust.replace(bundle.read_bytes())
    assert names(trust) == {"system", "bundle"}
    with pytest.raises(OSError):
        trust.replace(b"hello")
    assert names(trust) == {"system", "bundle"}
