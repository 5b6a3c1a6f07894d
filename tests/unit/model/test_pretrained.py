"""Frozen encoders: manifests, files that are not what they should be, word vectors, the cache of features."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from model.pretrained.encoder import CachedEncoder, EncoderError, Vectors, pool_vectors
from model.pretrained.manifest import find_encoders, open_encoder
from model.pretrained.words import TABLE_FILE, TOKENIZER_FILE
from services.runtime.settings import ROOT

SUBWORDS = ["▁", "a", "b", "c", "▁a", "▁ab", "bc", "▁abc"]
MERGES = ["▁ a", "b c", "▁a b", "▁a bc"]


def make_words(parent: Path, name: str = "words", changes: dict[str, Any] | None = None) -> Path:
    """Write a small table of subwords and its manifest."""
    folder = parent / name
    folder.mkdir(parents=True)
    model = {"vocab": {subword: row for row, subword in enumerate(SUBWORDS)}, "merges": MERGES}
    (folder / TOKENIZER_FILE).write_text(json.dumps({"model": model}))
    table = np.random.default_rng(1).normal(size=(len(SUBWORDS), 16)).astype(np.float16)
    save_file({"embedding.weight": table}, folder / TABLE_FILE)
    files = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in (TOKENIZER_FILE, TABLE_FILE)}
    manifest = {"name": name, "modality": "text", "kind": "wordllama", "files": files, "options": {"size": 16}}
    (folder / "encoder.json").write_text(json.dumps(manifest | (changes or {})))
    return folder


def test_encoders_are_found_and_opened_by_name(tmp_path: Path) -> None:
    make_words(tmp_path)
    assert [(e.name, e.modality, e.problem) for e in find_encoders([tmp_path])] == [("words", "text", "")]
    encoder = open_encoder("words", [tmp_path])
    assert encoder.encode(["abc", "a b"]).shape == (2, encoder.size)


def test_a_word_is_split_by_the_earliest_learned_merges(tmp_path: Path) -> None:
    make_words(tmp_path)
    encoder: Any = open_encoder("words", [tmp_path])
    # "b c" was learned before "▁a b", so the pieces are "▁a" and "bc", which then merge.
    assert [SUBWORDS[row] for row in encoder.tokenize("ABC ac")] == ["▁abc", "▁a", "c"]


@pytest.mark.parametrize("text", ["", "...", "Привет", "你好", "🎉🎉"])
def test_a_text_without_readable_words_is_a_row_of_zeros(tmp_path: Path, text: str) -> None:
    make_words(tmp_path)
    vectors = open_encoder("words", [tmp_path]).encode([text, "abc"])
    assert not vectors[0].any()
    assert vectors[1].any()


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    folder = make_words(tmp_path)
    (folder / TABLE_FILE).write_bytes((folder / TABLE_FILE).read_bytes() + b"\0")
    with pytest.raises(EncoderError, match="not the file of which the manifest speaks"):
        open_encoder("words", [tmp_path])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"kind": "magic"}, "no kind magic"),
        ({"files": {"../secret": "0" * 64}}, "outside the folder"),
        ({"colour": "red"}, "colour"),
        ({"name": "No Name"}, "name"),
        ({"name": "other"}, "not named other"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_listed_with_its_problem(
    tmp_path: Path, changes: dict[str, Any], problem: str
) -> None:
    make_words(tmp_path, changes=changes)
    (found,) = find_encoders([tmp_path])
    assert problem in found.problem


def test_an_unknown_encoder_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    make_words(tmp_path)
    with pytest.raises(EncoderError, match="Found: words"):
        open_encoder("word", [tmp_path])


def test_the_digest_covers_files_and_options_but_not_the_name(tmp_path: Path) -> None:
    make_words(tmp_path / "a", "one")
    make_words(tmp_path / "b", "two")
    make_words(tmp_path / "c", "three", {"options": {"size": 16, "lower": False}})
    digests = [open_encoder(n, [tmp_path / f]).digest for f, n in (("a", "one"), ("b", "two"), ("c", "three"))]
    assert digests[0] == digests[1] != digests[2]


def test_listing_and_opening_word_vectors_loads_no_torch(tmp_path: Path) -> None:
    make_words(tmp_path)
    code = (
        "import sys; from pathlib import Path; from model.pretrained.manifest import *; p = [Path(sys.argv[1])]; "
        "assert find_encoders(p); open_encoder('words', p).encode(['abc']); sys.exit('torch' in sys.modules)"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == 0


class CountingEncoder:
    """Encodes a text to its length, and counts."""

    name, modality, digest, size = "count", "text", "d1", 1
    sample_rate: int | None = None

    def __init__(self) -> None:
        self.encoded: list[str] = []

    def encode(self, items: Sequence[str]) -> Vectors:
        self.encoded += items
        return np.array([[len(item)] for item in items], np.float32)


def test_an_item_is_encoded_once_for_each_encoder_digest(tmp_path: Path) -> None:
    counting = CountingEncoder()
    cached = CachedEncoder(counting, tmp_path / "features.sqlite")
    assert cached.encode(["a", "bb", "a"]).tolist() == [[1], [2], [1]]
    assert cached.encode(["bb", "ccc"]).tolist() == [[2], [3]]
    assert counting.encoded == ["a", "bb", "ccc"]
    cached.digest = "d2"
    cached.encode(["a"])
    assert counting.encoded[3:] == ["a"]
    cached.close()


def test_pooling_joins_statistics_in_the_named_order() -> None:
    vectors = np.array([[1, 5], [3, 1]], np.float32)
    assert pool_vectors(vectors, "mean+max").tolist() == [2, 3, 3, 5]
