"""A data set of the Hub at one commit: `datasets` says which files it needs, and huggingface_hub fetches them.

huggingface_hub builds file names from the server's answers. So every answer about a data set is checked first.
"""

import re
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from types import ModuleType
from typing import Any

from huggingface_hub import constants, file_download
from huggingface_hub.errors import RemoteEntryNotFoundError
from huggingface_hub.file_download import HfFileMetadata
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

from learngene_hub.core.downloads import LIMIT_MB, check_download, megabytes
from learngene_hub.core.errors import DataError, HubError
from learngene_hub.core.progress import Reporter, SilentReporter
from learngene_hub.data.image_set import shorten
from learngene_hub.hub.address import COMMIT, Address
from learngene_hub.hub.client import HubOptions, not_a_hub
from learngene_hub.hub.fetch import begun, time_limit, within
from learngene_hub.hub.listing import Listing, fetch_listing

MOST_LISTING = 64 * 10**6  # bytes, of some 250,000 files
DESCRIPTIONS = ("README.md", ".huggingface.yaml", "dataset_infos.json")  # of a data set; what `datasets` reads first
MOST_REPEATED = 2  # times their size that come of files whose answers are cut and begun anew
WORKERS = 8  # files fetched at a time
_HASH = re.compile(r"[0-9a-f]{32,64}")
_RESOLVED = re.compile(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/")
_ask = file_download.get_hf_file_metadata
_lock, _inside = Lock(), list[str]()


@dataclass(frozen=True)
class _Chosen:
    """A data set at one commit, as the Hub lists it."""

    address: Address
    listing: Listing
    options: HubOptions

    @property
    def hub_id(self) -> str:
        return self.address.repo_id


def fetched(datasets: ModuleType, hub_id: str, revision: str | None, reporter: Reporter) -> Any:  # noqa: ANN401
    """The `datasets` builder of a data set whose files are now on this machine.

    `reporter` shows their size before they are fetched, and the progress.

    Raises:
        DataError: the Hub does not list a file of the data set.
        HubError: it exceeds the download limit, takes too long, or the server's answer is not valid.
        OSError, ValueError, RuntimeError, httpx2.HTTPError, datasets.exceptions.DatasetsError: see `datasets`.
    """
    options, seconds = HubOptions(endpoint=constants.ENDPOINT), time_limit()
    address, until = Address(hub_id, revision), time.monotonic() + seconds
    chosen = within(seconds, hub_id, lambda: _listed(address, options, until))
    _fetch(chosen, [name for name in DESCRIPTIONS if name in chosen.listing.files], SilentReporter())
    builder = within(seconds, hub_id, lambda: _builder(datasets, chosen))
    if not Path(builder.cache_dir).exists():
        start = f"hf://datasets/{hub_id}@{chosen.listing.commit}/"
        paths = {path: path.partition(start)[2] for files in _data_files(builder).values() for path in files}
        names = [*dict.fromkeys(paths.values())]
        size = megabytes(_checked_size(chosen, names))
        reporter.warn(f"fetching {size} MB: data set {hub_id} from the Hugging Face Hub")
        kept = _fetch(chosen, names, reporter)
        for files in _data_files(builder).values():  # so that nothing more is asked of the Hub
            files[:] = [path.replace(start + paths[path], kept[paths[path]]) for path in files]
    return builder


def _listed(address: Address, options: HubOptions, until: float) -> _Chosen:
    listing = fetch_listing(address, options, until=until, kind="datasets", most=MOST_LISTING)
    if address.is_pinned and listing.commit != address.revision:
        raise HubError(not_a_hub(address, options))
    return _Chosen(address, listing, options)


def _builder(datasets: ModuleType, chosen: _Chosen) -> Any:  # noqa: ANN401 - of an optional library
    """What `datasets` makes of the names and descriptions of the files; it asks the Hub for more of these."""
    with _names_checked(chosen.hub_id):
        builder = datasets.load_dataset_builder(chosen.hub_id, revision=chosen.listing.commit)
    if builder.hash != chosen.listing.commit:  # `datasets` takes any commit of its cache where the Hub fails
        raise HubError(
            f"{chosen.address}: {chosen.options.shown_site} lists the commit {chosen.listing.commit[:12]} but does "
            "not deliver it: try again later, or check HF_ENDPOINT"
        )
    return builder


def _data_files(builder: Any) -> Mapping[str, list[str]]:  # noqa: ANN401 - of an optional library
    return builder.config.data_files or {}


def _checked_size(chosen: _Chosen, names: Sequence[str]) -> int:
    """All bytes of the files, which may be fetched.

    Raises:
        DataError: the Hub does not list a file.
        HubError: they are more than the limit.
    """
    listed = chosen.listing.files
    if unknown := [name for name in names if name not in listed]:
        raise DataError(
            f"{chosen.hub_id}: expected the Hub to list a size for every file, found none for {shorten(unknown)}"
        )
    size = sum(listed[name].size for name in names)
    check_download(chosen.hub_id, size)
    return size


def _fetch(chosen: _Chosen, names: Sequence[str], reporter: Reporter) -> dict[str, str]:
    """Name of a file -> where it lies in the cache of huggingface_hub.

    Raises:
        HubUnreachableError: this takes more than the limit, which is raised in proportion for large ones.
        HubError: they are more than may be fetched at once, or more bytes come than the Hub lists.
    """
    size = _checked_size(chosen, names)
    seconds = time_limit() * max(1.0, size / (LIMIT_MB * 1e6))
    paths, come, received, waiting, is_over = dict[str, str](), [0.0], [0.0], iter(names), Event()
    with reporter.task(f"fetching {chosen.hub_id}", size / 1e6, "MB") as bar:

        class Watched(tqdm):
            """Called for each piece received; by Xet, which cannot be stopped, for each piece written."""

            def __init__(self, *args: object, **more: Any) -> None:  # noqa: ANN401
                super().__init__(*args, **more | {"disable": True})  # type: ignore[no-untyped-call]
                self.may_stop = "bar_format" not in more  # as Xet's have

            def update(self, n: float | None = 1) -> None:
                with _lock:
                    come[0] += n or 0  # negative when a file is fetched again from its start
                    received[0] += max(0.0, n or 0)
                    bar.advance((n or 0) / 1e6)
                if self.may_stop and (is_over.is_set() or come[0] > size or received[0] > MOST_REPEATED * size):
                    raise HubError(f"{chosen.hub_id}: received more than the {megabytes(size)} MB that the Hub lists")

            def update_transfer(self, n: float = 1) -> None:
                """Called by Xet for what came; for what is written, Xet calls `update`."""

            def set_transfer_postfix_str(self, *_: object, **__: object) -> None:
                """Likewise."""

        def work() -> None:
            with _names_checked(chosen.hub_id):
                for name in waiting:
                    if not is_over.is_set():
                        paths[name] = chosen.options.api().hf_hub_download(
                            chosen.hub_id, name, repo_type="dataset", revision=chosen.listing.commit, tqdm_class=Watched
                        )
                        if Path(paths[name]).stat().st_size != chosen.listing.files[name].size:
                            fault = f"{name} differs in size from the Hub's list; remove {Path(paths[name]).resolve()}"
                            raise HubError(f"{chosen.hub_id}: {fault}")

        try:
            workers = [begun(work) for _ in names[:WORKERS]]
            within(seconds, chosen.hub_id, lambda: _all_done(workers))
        finally:
            is_over.set()
    return paths


def _all_done(workers: Sequence[Future[None]]) -> None:
    """Wait until all are done, or one has failed, whose exception is raised."""
    for worker in wait(workers, return_when=FIRST_EXCEPTION).done:
        worker.result()


@contextmanager
def _names_checked(hub_id: str) -> Iterator[None]:
    """Refuse, in all threads, odd names in what a server says of files of data sets, until the last one leaves.

    The data set `hub_id` is fetched by its commit alone.
    """
    with _lock:
        _inside.append(hub_id)
        file_download.get_hf_file_metadata = _checked_metadata  # type: ignore[assignment]
    try:
        yield
    finally:
        with _lock:
            _inside.remove(hub_id)
            if not _inside:
                file_download.get_hf_file_metadata = _ask


def _checked_metadata(url: str, **more: Any) -> HfFileMetadata:  # noqa: ANN401 - the arguments of huggingface_hub
    """What the server says of the file at `url`, redirections included.

    Raises:
        HubError: of a file of a data set, it says a name that is no hash.
    """
    resolved = _RESOLVED.search(url)
    if resolved is None:
        return _ask(url, **more)
    if resolved[1] in _inside and not COMMIT.fullmatch(resolved[2]):  # as asked for, unless the server said otherwise
        raise HubError(_odd(url))
    try:
        said = _ask(url, **more)
    except RemoteEntryNotFoundError as error:  # it is noted that there is no such file, in a folder of this name
        _check_names(url, error.response.headers.get(constants.HUGGINGFACE_HEADER_X_REPO_COMMIT), ())
        raise
    xet = said.xet_file_data.file_hash if said.xet_file_data else None
    _check_names(url, said.commit_hash, (said.etag, xet))
    return said


def _check_names(url: str, commit: str | None, hashes: Sequence[str | None]) -> None:
    has_odd = any(name is not None and not _HASH.fullmatch(name) for name in hashes)
    if has_odd or (commit is not None and not COMMIT.fullmatch(commit)):
        raise HubError(_odd(url))


def _odd(url: str) -> str:
    site, _, rest = url.partition("/datasets/")
    return not_a_hub(rest.partition("/resolve/")[0], HubOptions(endpoint=site))
