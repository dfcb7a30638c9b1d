"""Files of torch.save are read without torch, in both formats, and what is more than tensors is refused.

The files are written here as torch writes them: pickles in which storages are named, their numbers beside or behind.
"""

from __future__ import annotations

import io
import pickle
import struct
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import voice_stack  # noqa: F401 - puts our packages on the import path
from utils.torch_file import NotTensors, read_tensors

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
WEIGHT = np.arange(12, dtype="<f4").reshape(3, 4)
BIAS = np.array([7, -8], dtype="<i8")
KINDS = {"<f4": "FloatStorage", "<i8": "LongStorage", "<f8": "DoubleStorage"}


class Storage:
    """Numbers that a pickle only names."""

    def __init__(self, data: np.ndarray) -> None:
        self.data = data.reshape(-1)
        self.key = str(id(self))


class Tensor:
    """A view of a storage, pickled as torch pickles its own."""

    def __init__(self, storage: Storage, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> None:
        self.arguments = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce__(self) -> tuple[Any, ...]:
        return sys.modules["torch._utils"]._rebuild_tensor_v2, self.arguments


class Pickler(pickle.Pickler):
    """Names storages as torch does, with the further field of its old format or without."""

    def __init__(self, file: io.BytesIO, *, old: bool) -> None:
        super().__init__(file, protocol=2)
        self.storages: dict[str, Storage] = {}
        self.rest = (None,) if old else ()

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, Storage):
            return None
        self.storages[obj.key] = obj
        kind = getattr(sys.modules["torch"], KINDS[obj.data.dtype.str])
        return ("storage", kind, obj.key, "cpu", len(obj.data), *self.rest)


@pytest.fixture(autouse=True)
def torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules with the names that pickles of torch mention; reading must not need them."""
    library, inner = ModuleType("torch"), ModuleType("torch._utils")
    for name in KINDS.values():
        setattr(library, name, type(name, (), {"__module__": "torch"}))

    def _rebuild_tensor_v2() -> None:
        raise AssertionError("called while writing")

    _rebuild_tensor_v2.__module__ = "torch._utils"
    _rebuild_tensor_v2.__qualname__ = "_rebuild_tensor_v2"
    inner._rebuild_tensor_v2 = _rebuild_tensor_v2  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torch", library)
    monkeypatch.setitem(sys.modules, "torch._utils", inner)


def archive(path: Path, value: Any, *, compression: int = zipfile.ZIP_STORED) -> Path:
    file = io.BytesIO()
    pickler = Pickler(file, old=False)
    pickler.dump(value)
    with zipfile.ZipFile(path, "w", compression) as found:
        found.writestr("model/data.pkl", file.getvalue())
        for key, storage in pickler.storages.items():
            found.writestr(f"model/data/{key}", storage.data.tobytes())
    return path


def pickles(path: Path, value: Any) -> Path:
    file = io.BytesIO()
    for head in (MAGIC, VERSION, {"protocol_version": VERSION, "little_endian": True, "type_sizes": {}}):
        pickle.dump(head, file, protocol=2)
    pickler = Pickler(file, old=True)
    pickler.dump(value)
    keys = sorted(pickler.storages)
    pickle.dump(keys, file, protocol=2)
    for key in keys:
        data = pickler.storages[key].data
        file.write(struct.pack("<q", len(data)) + data.tobytes())
    path.write_bytes(file.getvalue())
    return path


def checkpoint() -> dict[str, Any]:
    """A state as training scripts save it, beside other things."""
    weight = Storage(WEIGHT)
    state = OrderedDict(
        weight=Tensor(weight, (3, 4), (4, 1)),
        turned=Tensor(weight, (4, 2), (1, 4), 4),
        bias=Tensor(Storage(BIAS), (2,), (1,)),
        one=Tensor(weight, (), (), 5),
        nothing=Tensor(weight, (0, 4), (4, 1)),
        note="not a tensor",
    )
    state._metadata = {"": {"version": 1}}  # type: ignore[attr-defined]
    return {"step": 3, "model_state": state, "optimizer_state": {"param_groups": [{"lr": 0.1, "params": [1, 2]}]}}


@pytest.fixture(params=[archive, pickles], ids=["archive", "pickles"])
def write(request: pytest.FixtureRequest) -> Callable[[Path, Any], Path]:
    return request.param


def test_tensors_are_read(tmp_path: Path, write: Callable[[Path, Any], Path]) -> None:
    found = read_tensors(write(tmp_path / "model.pt", checkpoint()), "model_state")
    assert set(found) == {"weight", "turned", "bias", "one", "nothing"}
    assert np.array_equal(found["weight"], WEIGHT)
    assert np.array_equal(found["turned"], WEIGHT[1:].T)
    assert np.array_equal(found["bias"], BIAS)
    assert found["one"] == 5
    assert found["nothing"].shape == (0, 4)
    found["weight"][:] = 0  # it is a copy
    assert found["one"] == 5


def test_keys_lead_to_the_tensors(tmp_path: Path, write: Callable[[Path, Any], Path]) -> None:
    path = write(tmp_path / "model.pt", checkpoint())
    assert read_tensors(path) == {}
    for keys in (("state",), ("step", "x"), ("step",)):
        with pytest.raises(NotTensors):
            read_tensors(path, *keys)


class Evil:
    """Something that a pickle would run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("run",)


def test_nothing_of_a_pickle_is_run(
    tmp_path: Path, write: Callable[[Path, Any], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "model.pt", {"model_state": Evil()})
    with pytest.raises(NotTensors, match="print"):
        read_tensors(path, "model_state")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((3, 5), (4, 1), 0),
        ((3, 4), (4, 1), 1),
        ((1 << 40,), (0,), 0),
        ((2,), (-1,), 3),
        ((2, 2), (1,), 0),
        ((1,) * 9, (1,) * 9, 0),
        ((1,), (1,), -1),
    ],
)
def test_a_tensor_that_reaches_out_of_its_numbers_is_refused(
    tmp_path: Path,
    write: Callable[[Path, Any], Path],
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    offset: int,
) -> None:
    path = write(tmp_path / "model.pt", {"x": Tensor(Storage(WEIGHT), shape, strides, offset)})
    with pytest.raises(NotTensors):
        read_tensors(path)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_a_file_that_ends_early_is_refused(tmp_path: Path, write: Callable[[Path, Any], Path], share: float) -> None:
    path = write(tmp_path / "model.pt", checkpoint())
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(NotTensors):
        read_tensors(path, "model_state")


@pytest.mark.parametrize("content", [b"PK\x03\x04nonsense", b"\x80\x02K\x01.", b"RIFF", b"\x80\x02}."])
def test_other_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(NotTensors):
        read_tensors(tmp_path / "model.pt")


def test_archives_that_are_no_models_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as found:
        found.writestr("readme.txt", "hello")
    for path in (tmp_path / "other.zip", archive(tmp_path / "a.pt", checkpoint(), compression=zipfile.ZIP_DEFLATED)):
        with pytest.raises(NotTensors):
            read_tensors(path)
