import errno
import os
import shutil
from pathlib import Path

import pytest
from filelock import FileLock, Timeout
from huggingface_hub import constants
from safetensors import SafetensorError

from learngene_hub.core.errors import LONGEST, GeneFileError, HubError, RunError, StorageError
from learngene_hub.core.files import (
    append_line,
    atomic_path,
    check_room,
    claim,
    claim_new,
    is_there,
    leads_out,
    parse_json,
    read_file,
    refuse_occupied,
    refuse_unmakeable,
    sweep,
    write_text,
)


def failing(number):
    def fail(*arguments, **options):
        raise OSError(number, os.strerror(number))

    return fail


def test_a_message_says_nothing_that_would_steer_a_terminal():
    assert str(GeneFileError("no tensor \x1b[2J\x1b]0;x\a\u202e\ud800 here")) == (
        r"no tensor \x1b[2J\x1b]0;x\x07\u202e\ud800 here"
    )
    assert str(HubError("two\nlines, a 中文 name and 5\N{NO-BREAK SPACE}%")).count("\n") == 1


def test_a_message_about_a_huge_name_is_short():
    assert len(str(GeneFileError("x" * 10**6))) == LONGEST + 3


def test_a_name_that_no_file_can_have_is_not_there():
    assert not is_there("x" * 5000)
    assert not is_there("a\0b")


def test_a_file_larger_than_expected_is_not_read_whole(tmp_path):
    path = tmp_path / "large"
    with path.open("wb") as file:
        file.truncate(10**10)  # sparse: takes no space
    with pytest.raises(OSError, match="larger than 1 MB"):
        read_file(path, most=10**6)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match="found a folder, pipe or device"):
        read_file(tmp_path / "pipe", most=10)


def test_json_nested_beyond_reason_is_a_value_error():
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json("[" * 200_000)


def test_links_out_of_a_folder_are_told_from_those_inside(tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret").touch()
    (tmp_path / "in/file").touch()
    for name, target in {"out": "../secret", "self": "self", "none": "nowhere", "good": "file"}.items():
        (tmp_path / "in" / name).symlink_to(target)
    found = {path.name for path in (tmp_path / "in").iterdir() if leads_out(path, tmp_path / "in")}
    assert found == {"out", "self", "none"}


def test_a_folder_of_the_hubs_cache_may_link_into_that_cache_only(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    snapshot, shared = tmp_path / "cache/datasets--you--birds/snapshots/abc", tmp_path / "cache/blobs/12/12ab"
    snapshot.mkdir(parents=True)
    shared.parent.mkdir(parents=True)
    shared.touch()
    (tmp_path / "secret").touch()
    (snapshot / "good").symlink_to("../../../blobs/12/12ab")
    (snapshot / "bad").symlink_to(tmp_path / "secret")
    assert not leads_out(snapshot / "good", snapshot)
    assert leads_out(snapshot / "bad", snapshot)


def test_a_folder_that_only_looks_like_a_snapshot_may_not_link_out(tmp_path):
    snapshot = tmp_path / "models--you--gene/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot.parents[1] / "blobs").mkdir()
    (snapshot.parents[1] / "blobs/1").touch()
    (snapshot / "file").symlink_to("../../blobs/1")
    assert leads_out(snapshot / "file", snapshot)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES])
def test_a_disk_that_is_full_or_read_only_is_told_and_the_old_file_stays(tmp_path, monkeypatch, number):
    write_text(tmp_path / "file", "old")
    monkeypatch.setattr(os, "replace", failing(number))
    with pytest.raises(
        StorageError, match=rf"/file: cannot be written \({os.strerror(number)}.*\).*existing files are unchanged"
    ):
        write_text(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_file_larger_than_the_disk_allows_is_to_be_put_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", failing(errno.EFBIG))
    with pytest.raises(StorageError, match=r"File too large\): choose another place"):
        write_text(tmp_path / "file", "new")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EFBIG])
def test_tensors_that_do_not_fit_are_told_of_the_outermost_folder_that_is_written(tmp_path, number):
    """As safetensors says it, which raises no `OSError`."""

    def write():
        with atomic_path(tmp_path / "out") as folder:
            folder.mkdir()
            with atomic_path(folder / "weights"):
                raise SafetensorError(f"Error while serializing: I/O error: whatever (os error {number})")

    with pytest.raises(StorageError, match=rf"{tmp_path}/out: cannot be written \({os.strerror(number)}"):
        write()
    assert not list(tmp_path.iterdir())


def test_a_fault_of_tensors_that_is_none_of_the_disk_stays_what_it_is(tmp_path):
    with pytest.raises(SafetensorError, match="no such thing"), atomic_path(tmp_path / "out"):
        raise SafetensorError("no such thing")


def test_room_is_looked_for_where_the_folder_will_be(tmp_path):
    free = shutil.disk_usage(tmp_path).free
    check_room(tmp_path / "not/there/yet", free // 2, "the network")
    with pytest.raises(StorageError, match=r"yet: expected [\d.]+ MB of free space for the network, found [\d.]+ MB"):
        check_room(tmp_path / "not/there/yet", 10 * free, "the network")


def test_a_line_that_does_not_fit_on_the_disk_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(Path, "open", failing(errno.ENOSPC))
    with pytest.raises(StorageError, match="cannot be written"):
        append_line(tmp_path / "log", "x")


def test_a_folder_never_takes_the_place_of_a_full_one(tmp_path):
    out = tmp_path / "out"

    def make():
        with atomic_path(out) as folder:
            folder.mkdir()
            out.mkdir()
            (out / "of somebody else").touch()

    with pytest.raises(StorageError, match=r"out: cannot be written \(Directory not empty\): choose another place"):
        make()
    assert [path.name for path in out.iterdir()] == ["of somebody else"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_takes_the_place_of_no_folder(tmp_path):
    (tmp_path / "site").mkdir()
    with pytest.raises(StorageError, match=r"site: cannot be written \(Is a directory\): choose another place"):
        write_text(tmp_path / "site", "page")
    assert (tmp_path / "site").is_dir()


def test_two_cannot_make_the_same_new_folder_and_nothing_is_left_behind(tmp_path):
    def claimed_again():
        with claim_new(tmp_path / "out"):
            pass

    with claim_new(tmp_path / "out"), pytest.raises(RunError, match="another process is running here"):
        claimed_again()
    assert not list(tmp_path.iterdir())


def test_what_a_killed_process_left_beside_a_new_folder_is_removed_and_nothing_else(tmp_path):
    others = {".output.abcd1234.tmp", ".out.v2.abcd1234.tmp", ".outer.tmp"}
    for name in (".out.abcd1234.tmp", *others):
        (tmp_path / name).mkdir()
    (tmp_path / ".out.lock").touch()
    with claim_new(tmp_path / "out"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == others


def test_sweeping_a_folder_leaves_files_and_other_folders(tmp_path):
    (tmp_path / ".results.json.abcd_123.tmp").mkdir()
    (tmp_path / "kept.tmp").mkdir()
    (tmp_path / ".hidden").touch()
    sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"kept.tmp", ".hidden"}


def test_the_folder_of_a_process_at_work_is_what_a_sweep_would_find(tmp_path):
    with atomic_path(tmp_path / "out.v2") as path:
        path.write_text("x")
        sweep(tmp_path, "out")
        assert path.is_file()
        sweep(tmp_path, "out.v2")
        assert not path.exists()
        path.parent.mkdir()
        path.write_text("x")


@pytest.mark.parametrize("kind", ["current", "link", "mount"])
def test_what_no_folder_can_take_the_place_of_is_refused(tmp_path, monkeypatch, kind):
    out = {"current": Path(), "link": tmp_path / "link", "mount": tmp_path / "mount"}[kind]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "empty")
    monkeypatch.setattr(os.path, "ismount", lambda path: path == tmp_path / "mount")
    with pytest.raises(RunError, match="expected a folder that can be created"):
        refuse_unmakeable(out)
    refuse_unmakeable(tmp_path / "empty")
    refuse_unmakeable(tmp_path / "new")


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "out").mkdir()
    with atomic_path(tmp_path / "out") as folder:
        folder.mkdir()
        (folder / "x").touch()
    assert (tmp_path / "out/x").is_file()


def test_the_clean_up_of_a_folder_that_is_gone_hides_no_failure(tmp_path):
    def work():
        with claim(tmp_path / "run"):
            shutil.rmtree(tmp_path / "run")
            raise ValueError("the real reason")

    with pytest.raises(ValueError, match="the real reason"):
        work()


@pytest.mark.parametrize(
    ("fault", "told"),
    [(PermissionError(errno.EACCES, "no"), r"cannot be written \(Permission denied\)"), (Timeout(""), "takes no file")],
)
def test_a_place_that_takes_no_lock_is_told_by_the_name_that_was_asked_for(tmp_path, monkeypatch, fault, told):
    def acquire(*_, **__):
        raise fault

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with (
        pytest.raises(StorageError, match=rf"{tmp_path}/out: .*{told}.*choose another place"),
        claim_new(tmp_path / "out"),
    ):
        pass


def test_a_file_where_a_folder_should_be_is_told(tmp_path):
    (tmp_path / "out").touch()
    with pytest.raises(RunError, match="found a file; give another --out"):
        refuse_occupied(tmp_path / "out")


def test_a_lock_that_is_a_link_is_not_followed(tmp_path):
    (tmp_path / "precious").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run/.lock").symlink_to(tmp_path / "precious")
    with pytest.raises((RunError, OSError), match=r"\.lock|cannot be written|symbolic"), claim(tmp_path / "run"):
        pass
    assert (tmp_path / "precious").read_text() == "mine"
