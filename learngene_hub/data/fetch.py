"""A data set of the Hub at one commit: `datasets` says which files it needs, and huggingface_hub fetches them."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import ModuleType
from typing import Any

from huggingface_hub import constants

from learngene_hub.core.downloads import check_download, megabytes
from learngene_hub.core.errors import HubError
from learngene_hub.core.progress import Reporter
from learngene_hub.hub.address import Address
from learngene_hub.hub.client import TIMEOUT, HubOptions, explained
from learngene_hub.hub.fetch import Silent, resolved

WORKERS = 8  # files fetched at a time


def commit_of(hub_id: str, revision: str | None) -> str | None:
    """The commit of a data set; that of the cache where the Hub does not answer; `revision` if that has none."""
    for is_offline in (False, True):
        options = HubOptions(endpoint=constants.ENDPOINT, local_files_only=is_offline)
        with suppress(HubError):
            return resolved(Address(hub_id, revision), options, kind="dataset").resolved
    return revision


def fetched(datasets: ModuleType, hub_id: str, revision: str | None, reporter: Reporter) -> Any:  # noqa: ANN401
    """The `datasets` builder of a data set whose files are now in the cache of huggingface_hub.

    `reporter` shows their size before they are fetched, and the progress.

    Raises:
        HubError: there is no such data set, it exceeds the download limit, or the Hub does not deliver it.
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
        with explained(address, options):
            _fetch(Address(hub_id, commit), _sizes(builder, Address(hub_id, commit), options), options, reporter)
    return builder


def _sizes(builder: Any, address: Address, options: HubOptions) -> dict[str, int]:  # noqa: ANN401
    """Name -> bytes of the files that the builder needs."""
    info = options.api().dataset_info(address.repo_id, revision=address.revision, files_metadata=True, timeout=TIMEOUT)
    listed = {file.rfilename: file.size or 0 for file in info.siblings or ()}
    urls = [url for files in (builder.config.data_files or {}).values() for url in files]
    names = [url.partition(f"@{address.revision}/")[2] for url in urls]
    return {name: listed.get(name, 0) for name in names if name}


def _fetch(address: Address, sizes: Mapping[str, int], options: HubOptions, reporter: Reporter) -> None:
    size = sum(sizes.values())
    check_download(address.repo_id, size)
    reporter.warn(f"fetching {megabytes(size)} MB: data set {address.repo_id} from the Hugging Face Hub")
    lock, api = Lock(), options.api()
    with reporter.task(f"fetching {address.repo_id}", size / 1e6, "MB") as bar, ThreadPoolExecutor(WORKERS) as pool:

        class Told(Silent):
            """Moves our bar for every piece that is written."""

            def update(self, n: float | None = 1) -> None:
                with lock:
                    bar.advance((n or 0) / 1e6)

            def update_transfer(self, n: float = 1) -> None:
                """Called by Xet for what came; for what is written, Xet calls `update`."""

            def set_transfer_postfix_str(self, *_: object, **__: object) -> None:
                """Likewise."""

        def get(name: str) -> None:
            api.hf_hub_download(address.repo_id, name, repo_type="dataset", revision=address.revision, tqdm_class=Told)

        for _ in pool.map(get, sizes):
            pass
