"""The data sets that a command can name, and how each is trained by default."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from model.data.homesound10 import Homesound10
from model.data.manifest_set import ManifestSet
from model.data.tridigit import Tridigit
from model.recipe import TaskRecipe
from services.contract.user_errors import EXIT_USAGE, BraidError

SET_NAMES = ("tridigit", "homesound10")
DataSet = Tridigit | Homesound10 | ManifestSet


class UnknownDataSet(BraidError):
    """A name that is neither a data set nor the path of a manifest."""

    exit_code = EXIT_USAGE


def read_set(name: str, root: Path) -> DataSet:
    """Read a set by name from the folder with the sets, or a manifest by path.

    Raises:
        UnknownSetError: If there is no such set.
        ManifestError: If the manifest cannot be used.
    """
    if name == "tridigit" and (root / name / "manifest.jsonl").exists():
        return Tridigit(root / name)
    if name == "homesound10" and (root / name / "manifest.jsonl").exists():
        return Homesound10(root / name)
    if Path(name).is_file():
        return ManifestSet(Path(name))
    raise UnknownDataSet(f"{name} is neither a manifest nor one of {', '.join(SET_NAMES)} in {root}.")


def recipe_for(data: DataSet, fusion: str) -> TaskRecipe:
    """Return the default recipe of a set."""
    recipe = TaskRecipe(fusion=fusion)
    if isinstance(data, Homesound10):
        return replace(recipe, epochs=15, batch_size=32, segments=8, residual_epochs=0, smoothing=0.05)
    if isinstance(data, ManifestSet):
        return replace(recipe, epochs=30, batch_size=32, segments=data.segments)
    return recipe
