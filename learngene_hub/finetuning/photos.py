"""The images of a fine-tuning: to train on, to validate on and, where the folder has them, to test on.

A folder may hold `train/` (and `val/`, `test/`) with class folders or tables in each, or class folders alone. The
splits of a data set of the Hub, or tables with these names, are kept apart likewise. Without validation images, a share
of each class is set aside for validation.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch

from learngene_hub.core.errors import DataError, suggestion
from learngene_hub.core.files import expanded, public_name, visible_files
from learngene_hub.core.progress import Reporter
from learngene_hub.core.rng import generator
from learngene_hub.data.counting import available_classes, class_folders, count_images, tell_left_out
from learngene_hub.data.image_set import ImageSet, digests, shorten, tell_copies
from learngene_hub.data.loading import REPAIR, load_classes
from learngene_hub.data.rows import ROLES, has_tables, role_of
from learngene_hub.data.source import DataSource, opened

SHARE = 0.2


@dataclass(frozen=True)
class Photos:
    """Where the images are.

    Attributes:
        path: image folder, Parquet or Arrow files, or a data set of the Hub.
        val: share of every class to validate on, in (0, 1); None: as the images are divided, else 20 %.
        on_corrupt: what to do about an image that cannot be read.
        image_column: column of images, if it is not "image" or "img".
        label_column: column of labels, if it is not "label" or "fine_label".

    Raises:
        DataError: `val` is out of range.
    """

    path: str | Path
    val: float | None = None
    on_corrupt: Literal["refuse", "skip"] = "refuse"
    image_column: str | None = None
    label_column: str | None = None

    def __post_init__(self) -> None:
        if self.val is not None and not (isinstance(self.val, int | float) and 0 < self.val < 1):
            raise DataError(
                f"val: expected a share between 0 and 1, such as 0.2, found {self.val!r}; your own validation images "
                "are in `val/` beside `train/`"
            )


@dataclass(frozen=True, eq=False)
class Parts:
    """The images, decoded; all three sets have the same classes.

    Attributes:
        train: at least one image per class.
        val: images on which the epoch and the learning rate are chosen.
        test: images on which nothing is chosen; None if there are none.
        split: where the validation images come from, in words.
    """

    train: ImageSet
    val: ImageSet
    test: ImageSet | None
    split: str

    @property
    def sets(self) -> dict[str, ImageSet]:
        """Role -> its images: `train`, `val` and, where there are any, `test`."""
        return {"train": self.train, "val": self.val} | ({} if self.test is None else {"test": self.test})

    def record(self, photos: Photos) -> dict[str, Any]:
        """The facts about the images that `finetune.json` keeps."""
        return {
            "source": public_name(photos.path),
            "split": self.split,
            "images": {role: len(images) for role, images in self.sets.items()},
            "images_per_class": {role: _counts(images) for role, images in self.sets.items()},
            "on_corrupt": photos.on_corrupt,
        }


def load_photos(
    photos: Photos,
    *,
    image_size: int,
    seed: int,
    reporter: Reporter,
) -> Parts:
    """Read and divide the images.

    Args:
        photos: where they are.
        image_size: side in pixels to which images are scaled.
        seed: random seed of the split.
        reporter: reports progress, and images left out.

    Raises:
        DataError: the images cannot be read, there are too few images or classes, or the classes of the parts differ.
    """
    sources = _sources(photos, image_size, reporter, without=None if photos.val is None else "val")
    names = _checked(sources, reporter)
    advice = f"{REPAIR}, or skip them with --on-corrupt skip"
    train = load_classes(sources["train"], names, reporter=reporter, advice=advice)
    test = _with_all_classes("test", sources, names, reporter, advice) if "test" in sources else None
    if "val" in sources:
        val = _with_all_classes("val", sources, names, reporter, advice)
        is_split = sources["val"].role is not None
        split = "the validation split" if is_split else f"the folder {public_name(str(sources['val'].path))}/"
    else:
        share = photos.val or SHARE
        train, val = split_off(train, share, seed=seed)
        split = f"{100 * share:g} % of every class, at least 1 image, drawn at random with seed {seed}"
    parts = Parts(train, val, test, split)
    _tell_shared(parts, reporter)
    _tell_contradictions(list(parts.sets.values()), reporter)
    return parts


def load_for_choice(photos: Photos, *, image_size: int, reporter: Reporter) -> ImageSet:
    """The training and validation images as one set, scaled to `image_size`.

    Raises:
        DataError: see `load_photos`.
    """
    sources = _sources(photos, image_size, reporter, without="test")
    names = _checked(sources, reporter)
    sets = [load_classes(sources["train"], names, reporter=reporter, advice=REPAIR)]
    if "val" in sources:
        sets.append(_with_all_classes("val", sources, names, reporter, REPAIR))
    else:
        _refuse_lone(sets[0])
    images, labels = torch.cat([each.images for each in sets]), torch.cat([each.labels for each in sets])
    together = ImageSet(images, labels, names)
    _tell_contradictions([together], reporter)
    tell_copies(together, reporter)
    return together


def _sources(photos: Photos, image_size: int, reporter: Reporter, *, without: str | None) -> dict[str, DataSource]:
    """Role -> its images: `train` and, where folders, splits or tables are divided so, `val` and `test`.

    The role `without` is not read.
    """
    source = DataSource(
        preset=None,
        path=str(photos.path),
        image_size=image_size,
        image_column=photos.image_column,
        label_column=photos.label_column,
        on_corrupt=photos.on_corrupt,
    )
    folder = expanded(photos.path)
    sources = {role: replace(source, path=path) for role, path in _subfolders(folder).items()}
    if not sources and not (folder.is_dir() and not has_tables(folder)):
        sources = _splits(source, without, reporter)
    if without == "val" and "val" in sources:
        reporter.warn(f"{photos.path}: its validation images are not read, since --val is given")
    return {role: one for role, one in sources.items() if role != without} or {"train": source}


def _splits(source: DataSource, without: str | None, reporter: Reporter) -> dict[str, DataSource]:
    """Role -> its splits or tables; empty, with a warning, where all must be read as one set."""
    with opened(source, reporter) as parts:
        roles, others = {part.role for part in parts}, [part.where for part in parts if part.role is None]
    if len(roles) == 1:
        return {}
    sources = {role: replace(source, role=role) for role in ROLES if role in roles}
    classes = {role: set(count_images(one)) for role, one in sources.items() if role != without}
    strangers = [name for names in classes.values() for name in sorted(names - classes.get("train", set()))]
    if not others and not strangers:
        if unlabelled := [role for role, names in classes.items() if not names]:
            reporter.warn(f"{source.path}: images for {' and '.join(unlabelled)} have no labels, so they are not read")
        return {role: one for role, one in sources.items() if role not in unlabelled}
    why = f"training images of {shorten(strangers)}" if strangers else f"other names than {shorten(others)}"
    reporter.warn(
        f"{source.path}: all splits are read as one set, for training and validation; to keep them apart, give {why}, "
        "or save them into folders train/, val/ and test/"
    )
    return {}


def _checked(sources: dict[str, DataSource], reporter: Reporter) -> tuple[str, ...]:
    """The classes, which all sources share."""
    names = _classes(sources["train"], reporter)
    for role in sources.keys() - {"train"}:
        _refuse_strangers(sources[role], names, role)
    for source in sources.values():
        tell_left_out(source, reporter)
    return names


def _tell_shared(parts: Parts, reporter: Reporter) -> None:
    """Warn if the same picture is used for training and for measuring, which makes accuracies too high."""
    trained, others = set(digests(parts.train)), "training"
    for role, images in (("validation", parts.val), ("test", parts.test)):
        if images is not None and (known := sum(digest in trained for digest in digests(images))):
            reporter.warn(
                f"{known} of {len(images)} {role} images are copies of {others} images, equal in every pixel, so the "
                f"{role} accuracy is too high; remove the copies"
            )
        trained, others = trained | set(digests(parts.val)), "training or validation"  # both train what is kept


def _tell_contradictions(sets: Sequence[ImageSet], reporter: Reporter) -> None:
    """Warn if the same picture is in two classes: no network can get both right."""
    homes: dict[bytes, set[str]] = {}
    for images in sets:
        for digest, label in zip(digests(images), images.labels.tolist(), strict=True):
            homes.setdefault(digest, set()).add(images.class_names[label])
    if several := [sorted(names) for names in homes.values() if len(names) > 1]:
        count = "1 picture is" if len(several) == 1 else f"{len(several)} pictures are"
        reporter.warn(
            f"{count} in more than one class, equal in every pixel, such as in {' and '.join(map(repr, several[0]))}; "
            "keep each picture in one class"
        )


def split_off(images: ImageSet, share: float, *, seed: int) -> tuple[ImageSet, ImageSet]:
    """Training and validation images: a random `share` of each class is for validation, at least 1 image in each set.

    Raises:
        DataError: a class has a single image.
    """
    _refuse_lone(images)
    chosen = torch.zeros(len(images), dtype=torch.bool)
    for label, name in enumerate(images.class_names):
        members = (images.labels == label).nonzero().flatten()
        count = min(max(1, round(share * len(members))), len(members) - 1)
        order = torch.randperm(len(members), generator=generator(seed, "validation", name))
        chosen[members[order[:count]]] = True
    return _part(images, ~chosen), _part(images, chosen)


def _refuse_lone(images: ImageSet) -> None:
    """A class that is divided needs an image to train on and one to validate on."""
    if lone := [name for name, count in _counts(images).items() if count < 2]:
        raise DataError(
            f"expected 2 or more images per class, one to train on and one to validate on, found 1 in {shorten(lone)}; "
            "add images, remove such classes, or give validation images in val/ beside train/"
        )


def _subfolders(root: Path) -> dict[str, str]:
    """Role -> subfolder; empty where `root` is no folder with a `train/` of class folders or tables."""
    folders = _folders(root)
    roles = {role: [path for path in folders if role_of(path.name) == role] for role in ROLES}
    lone = [path.name for role in ("val", "test") for path in roles[role] if _folders(path)]
    if lone and not roles["train"]:
        raise DataError(
            f"{root}: expected train/ beside {' and '.join(f'{name}/' for name in lone)}, found none; put the class "
            "folders for training into train/"
        )
    if not any(_folders(path) or has_tables(path) for path in roles["train"]):
        return {}
    if others := [path.name for path in folders if role_of(path.name) is None]:
        if not any(map(_folders, roles["train"])):  # tables, of which there may be more
            return {}
        raise DataError(
            f"{root}: expected only val/ and test/ beside train/, also found {shorten(others)}; move it elsewhere"
        )
    for role, paths in roles.items():
        if len(paths) > 1:
            raise DataError(
                f"{root}: expected one folder {role}/, found {shorten([path.name for path in paths])}; keep one"
            )
    return {role: str(path) for role, paths in roles.items() for path in paths}


def _folders(root: Path) -> list[Path]:
    return sorted(root / name for name in class_folders(root)) if root.is_dir() else []


def _classes(source: DataSource, reporter: Reporter) -> tuple[str, ...]:
    """Names of the classes with images, at least two; a folder without any is refused, a name of a table left out."""
    known, counts = available_classes(source, reporter=reporter), count_images(source)
    folder = expanded(str(source.path))
    names = tuple(name for name in known if name in counts)
    folders = [] if has_tables(folder) else [path.name for path in _folders(folder)]
    if empty := [name for name in folders if name not in names and role_of(name) is None]:
        others = [file.relative_to(folder) for name in empty for file in visible_files(folder / name)]
        found = f", only other files such as {others[0]}; save them as .png or .jpg" if others else "; add images"
        raise DataError(f"{folder}: no images in {shorten(empty)}{found}, or remove these folders")
    if lost := [name for name in known if name not in counts]:
        reporter.warn(f"{source.path}: no images of {shorten(lost)}; these classes are left out")
    if len(names) < 2:
        raise DataError(
            f"{source.path}: expected 2 or more classes, each a folder of images, found {len(names)}: "
            f"{shorten(names) or 'none'}; add a folder of images for another class"
        )
    counts = Counter(map(str.casefold, names))
    if alike := [name for name in names if counts[name.casefold()] > 1]:
        told = "differ only in capitals; if they are one class, put the images into one folder"
        reporter.warn(f"{shorten(alike)} {told}")
    return names


def _refuse_strangers(source: DataSource, names: Sequence[str], role: str) -> None:
    """Images to validate or test on must be of the training classes."""
    if strangers := [name for name in count_images(source) if name not in names]:
        meant = suggestion([name for name in names if name.casefold() == strangers[0].casefold()])
        raise DataError(
            f"{source.path}: class {shorten(strangers)} is not among the {len(names)} training classes "
            f"({shorten(names)}); {role} images must belong to these{meant}"
        )


def _with_all_classes(
    role: str, sources: Mapping[str, DataSource], names: Sequence[str], reporter: Reporter, advice: str
) -> ImageSet:
    """The images of a role, labelled as `names` says; they may lack some of the classes."""
    images = load_classes(sources[role], names, reporter=reporter, may_lack=True, advice=advice)
    if not len(images):
        raise DataError(
            f"{sources[role].path}: expected images for {role} with labels that can be read, found none; add "
            "images, or remove them all"
        )
    return images


def _part(images: ImageSet, chosen: torch.Tensor) -> ImageSet:
    return ImageSet(images.images[chosen], images.labels[chosen], images.class_names)


def _counts(images: ImageSet) -> dict[str, int]:
    counts = torch.bincount(images.labels, minlength=images.num_classes).tolist()
    return dict(zip(images.class_names, counts, strict=True))
