"""A data set of the Hub at one commit: `datasets` says which files it needs, and huggingface_hub fetches them."""

from collections.abc import Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from posixpath import normpath
from threading import Event, Lock
from types import ModuleType
from typing import Any

from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.utils._xet import abort_xet_session

from learngene_hub.core.downloads import check_download, megabytes
from learngene_hub.core.errors import HubError
from learngene_hub.core.progress import Reporter, SilentReporter, Task
from learngene_hub.hub.address import COMMIT, Address
from learngene_hub.hub.client import TIMEOUT, HubOptions, explained
from learngene_hub.hub.fetch import Silent, resolved

WORKERS = 8  # files fetched at a time


def commit_of(hub_id: str, revision: str | None, reporter: Reporter) -> str | None:
    """The commit of a data set; that of the cache where the Hub does not answer; `revision` if that has none.

    `reporter` is told where the Hub was asked and did not answer.
    """
    if revision is not None and COMMIT.fullmatch(revision):
        return revision
    address, options = Address(hub_id, revision), HubOptions(endpoint=constants.ENDPOINT)
    try:
        return resolved(address, options, kind="dataset").resolved
    except HubError as error:
        with suppress(HubError):
            kept = resolved(address, replace(options, local_files_only=True), kind="dataset").resolved
            if not options.is_offline:
                reporter.warn(f"{error}. Using commit {kept[:12]} from the cache")
            return kept
    return revision


def fetched(datasets: ModuleType, hub_id: str, revision: str | None, reporter: Reporter) -> Any:  # noqa: ANN401
    """The `datasets` builder of a data set whose files are now in the cache of huggingface_hub.

    `reporter` shows the size of those that are missing before they are fetched, and the progress.

    Raises:
        HubError: there is no such data set, it names files of others, what is missing exceeds the download limit, or
            the Hub does not deliver it.
        OSError, ValueError, RuntimeError, httpx2.HTTPError, datasets.exceptions.DatasetsError: see `datasets`.
    """
    options = HubOptions(endpoint=constants.ENDPOINT)
    address = Address(hub_id, revision)
    commit = resolved(address, options, kind="dataset").resolved
    builder = datasets.load_dataset_builder(hub_id, revision=commit)
    if builder.hash != commit:  # `datasets` takes any commit of its cache where the Hub fails
        raise HubError(
            f"{address}: {options.shown_site} lists the commit {commit[:12]} but does not deliver it: try again "
            "later, or check HF_ENDPOINT"
        )
    if not Path(builder.cache_dir).exists():
        with explained(address, options, kind="dataset"):
            if missing := _missing(builder, Address(hub_id, commit), options):
                _fetch(Address(hub_id, commit), missing, options, reporter)
    return builder


def prepared(datasets: ModuleType, hub_id: str, revision: str | None) -> Any:  # noqa: ANN401
    """The `datasets` builder of a data set that was prepared earlier, without a request to the Hub.

    Raises:
        HubError: the cache holds another commit.
        OSError, ValueError, RuntimeError, datasets.exceptions.DatasetsError: see `datasets`.
    """
    commit = commit_of(hub_id, revision, SilentReporter())
    builder = datasets.load_dataset_builder(hub_id, revision=commit)
    if builder.hash != commit:  # `datasets` takes the newest of its cache
        raise HubError(
            f"{Address(hub_id, revision)}: expected commit {(commit or 'main')[:12]} in the cache of `datasets`, found "
            f"{builder.hash[:12]}: load it once with a connection, or in a recipe give data.revision={builder.hash}"
        )
    return builder


def _missing(builder: Any, address: Address, options: HubOptions) -> dict[str, int]:  # noqa: ANN401
    """Name -> bytes of the files that the builder needs and the cache lacks."""
    info = options.api().dataset_info(address.repo_id, revision=address.revision, files_metadata=True, timeout=TIMEOUT)
    sizes = {file.rfilename: file.size for file in info.siblings or () if file.size is not None}
    missing = dict[str, int]()
    for url in (url for files in (builder.config.data_files or {}).values() for url in files):
        name = normpath(url.removeprefix(f"hf://datasets/{address}/"))
        if name not in sizes:
            raise HubError(f"{address}: expected only files of this commit, found {url}: choose another data set")
        if not isinstance(try_to_load_from_cache(address.repo_id, name, None, address.revision, "dataset"), str):
            missing[name] = sizes[name]
    return missing


def _fetch(address: Address, sizes: Mapping[str, int], options: HubOptions, reporter: Reporter) -> None:
    size = sum(sizes.values())
    check_download(address.repo_id, size)
    reporter.warn(f"fetching {megabytes(size)} MB: data set {address.repo_id} from the Hugging Face Hub")
    stop, api = Event(), options.api()
    with reporter.task(f"fetching {address.repo_id}", size / 1e6, "MB") as bar, ThreadPoolExecutor(WORKERS) as pool:
        told = _told(bar, stop)
        get: Any = partial(api.hf_hub_download, repo_type="dataset", revision=address.revision, tqdm_class=told)
        try:
            for done in as_completed([pool.submit(get, address.repo_id, name) for name in sizes]):
                done.result()
        except BaseException:
            stop.set()
            abort_xet_session()  # type: ignore[no-untyped-call]
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def _told(bar: Task, stop: Event) -> type[Silent]:
    """A class of bars for huggingface_hub, which move `bar` for every piece that is written; `stop` ends downloads."""
    lock = Lock()

    class Told(Silent):
        def __init__(self, *args: object, name: str = "", **more: object) -> None:
            super().__init__(*args, **more)
            self.is_xet = "xet" in name
            self.refuse_stopped()

        def refuse_stopped(self) -> None:
            if stop.is_set():
                raise CancelledError

        def update(self, n: float | None = 1) -> None:
            if not self.is_xet:  # it would print the error and go on; see `abort_xet_session`
                self.refuse_stopped()
            with lock:
                bar.advance((n or 0) / 1e6)

        def update_transfer(self, n: float = 1) -> None:
            """Called by Xet for what came; for what is written, Xet calls `update`."""

        def set_transfer_postfix_str(self, *_: object, **__: object) -> None:
            """Likewise."""

    return Told
