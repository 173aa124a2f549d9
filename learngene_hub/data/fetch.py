"""A data set of the Hub at one commit: `datasets` says which files it needs, and huggingface_hub fetches them."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock
from types import ModuleType
from typing import Any

from huggingface_hub import constants
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

from learngene_hub.core.downloads import LIMIT_MB, check_download, megabytes
from learngene_hub.core.errors import DataError, HubError
from learngene_hub.core.progress import Reporter, SilentReporter
from learngene_hub.data.image_set import shorten
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import HubOptions, not_a_hub
from learngene_hub.hub.fetch import begun, time_limit, within
from learngene_hub.hub.listing import Listing, fetch_listing

MOST_LISTING = 64 * 10**6  # bytes, of some 250,000 files
DESCRIPTIONS = ("README.md", ".huggingface.yaml", "dataset_infos.json")  # of a data set; what `datasets` reads first
MOST_REPEATED = 2  # times their size that come of files whose answers are cut and begun anew
WORKERS = 8  # files fetched at a time


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
    paths, come, received, waiting = dict[str, str](), [0.0], [0.0], iter(names)
    lock, is_over = Lock(), Event()
    with reporter.task(f"fetching {chosen.hub_id}", size / 1e6, "MB") as bar:

        class Watched(tqdm):
            """Called for each piece received; by Xet, which cannot be stopped, for each piece written."""

            def __init__(self, *args: object, **more: Any) -> None:  # noqa: ANN401
                super().__init__(*args, **more | {"disable": True})  # type: ignore[no-untyped-call]
                self.may_stop = "bar_format" not in more  # as Xet's have

            def update(self, n: float | None = 1) -> None:
                with lock:
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
