from __future__ import annotations

import pytest
import torch
from safetensors.torch import save_file

from trainer.build import describe_model, rebuild_model
from trainer.errors import ConfigError
from trainer.models.bert import Bert
from trainer.models.mlp import MLP
from trainer.models.normalize import Normalize
from trainer.models.resnet import ResNet

TINY = {"blocks": [1, 1], "widths": [4, 8], "small_stem": True}
TINY_BERT = {
    "vocabulary_size": 50,
    "pad_id": 0,
    "max_length": 16,
    "width": 16,
    "layers": 2,
    "heads": 2,
    "feed_forward": 32,
}


def _pixels(*shape: int) -> torch.Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8)


def test_normalize_subtracts_and_divides_per_channel():
    layer = Normalize(3, mean=[0.1, 0.2, 0.3], std=[0.5, 1.0, 2.0])
    image = _pixels(2, 3, 4, 4)
    mean = torch.tensor([0.1, 0.2, 0.3]).view(1, 3, 1, 1)
    std = torch.tensor([0.5, 1.0, 2.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(layer(image), (image / 255 - mean) / std)


@pytest.mark.parametrize(("mean", "std"), [([0.1, 0.2], [1.0]), ([0.5], [0.0]), ([0.5], [-1.0])])
def test_normalize_refuses_when_numbers_do_not_fit(mean, std):
    with pytest.raises(ConfigError, match=r"model\.(mean|std)"):
        Normalize(3, mean=mean, std=std)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [8, 28, 33])
@pytest.mark.parametrize("small_stem", [True, False])
def test_resnet_gives_logits_for_every_size(channels, size, small_stem):
    model = ResNet(num_classes=7, channels=channels, **{**TINY, "small_stem": small_stem})
    assert model(_pixels(2, channels, size, size)).shape == (2, 7)


@pytest.mark.parametrize(
    ("blocks", "bottleneck", "weights", "names"),
    [([2, 2, 2, 2], False, 11_689_512, 122), ([3, 4, 6, 3], True, 25_557_032, 320)],
)
def test_resnet_has_torchvisions_weights_and_names(blocks, bottleneck, weights, names):
    model = ResNet(
        num_classes=1000,
        channels=3,
        blocks=blocks,
        widths=[64, 128, 256, 512],
        bottleneck=bottleneck,
    )
    own = [name for name in model.state_dict() if not name.startswith("normalize.")]
    assert sum(parameter.numel() for parameter in model.parameters()) == weights
    assert len(own) == names
    assert {"conv1.weight", "bn1.running_mean", "layer4.1.bn2.bias", "fc.weight"} <= set(own)
    assert "layer2.0.downsample.0.weight" in own


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
@pytest.mark.parametrize("channels", [1, 3])
def test_resnet_takes_all_weights_but_the_classifier_when_pretrained(tmp_path, suffix, channels):
    trained = ResNet(num_classes=1000, channels=3, **TINY)
    path = tmp_path / f"weights.{suffix}"
    state = {k: v.contiguous() for k, v in trained.state_dict().items() if "normalize" not in k}
    if suffix == "pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    model = ResNet(num_classes=3, channels=channels, pretrained=str(path), **TINY)
    torch.testing.assert_close(model.layer1[0].conv1.weight, trained.layer1[0].conv1.weight)
    first = trained.conv1.weight if channels == 3 else trained.conv1.weight.sum(1, keepdim=True)
    torch.testing.assert_close(model.conv1.weight, first)
    assert model.fc.out_features == 3


def test_resnet_refuses_when_pretrained_weights_do_not_fit(tmp_path):
    other = tmp_path / "other.pth"
    torch.save(ResNet(num_classes=2, channels=3, blocks=[1], widths=[4]).state_dict(), other)
    broken = tmp_path / "broken.pth"
    broken.write_bytes(b"no weights")
    missing = tmp_path / "missing.pth"
    for path in (other, broken, missing):
        with pytest.raises(ConfigError, match=r"model\.pretrained") as caught:
            ResNet(num_classes=2, channels=3, pretrained=str(path), **TINY)
        assert "\n" not in str(caught.value)


def test_resnet_refuses_when_stages_do_not_match():
    with pytest.raises(ConfigError, match=r"model\.blocks"):
        ResNet(num_classes=2, channels=1, blocks=[1, 1], widths=[4])


def test_mlp_gives_logits():
    model = MLP(num_classes=4, channels=1, height=5, width=6, hidden=[8])
    assert model(_pixels(3, 1, 5, 6)).shape == (3, 4)


def test_mlp_refuses_when_a_width_is_zero():
    with pytest.raises(ConfigError, match=r"model\.hidden"):
        MLP(num_classes=4, channels=1, height=5, width=6, hidden=[0])


@pytest.fixture
def bert() -> Bert:
    torch.manual_seed(0)
    return Bert(num_classes=3, **TINY_BERT).eval()


@pytest.mark.parametrize("pooling", ["mean", "first"])
def test_bert_ignores_padding(pooling):
    torch.manual_seed(0)
    model = Bert(num_classes=3, pooling=pooling, **TINY_BERT).eval()
    ids = torch.randint(1, 50, (2, 6))
    mask = torch.ones_like(ids)
    padded = torch.nn.functional.pad(ids, (0, 5))
    padded_mask = torch.nn.functional.pad(mask, (0, 5))
    torch.testing.assert_close(model(ids, mask), model(padded, padded_mask), atol=1e-5, rtol=1e-5)


def test_bert_gives_the_same_with_either_attention(bert):
    ids = torch.randint(1, 50, (2, 6))
    mask = torch.ones_like(ids)
    eager = Bert(num_classes=3, attention="eager", **TINY_BERT).eval()
    eager.load_state_dict(bert.state_dict())
    assert (bert.architecture["attention"], eager.architecture["attention"]) == ("sdpa", "eager")
    torch.testing.assert_close(eager(ids, mask), bert(ids, mask), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "change", [{"width": 15}, {"max_length": 600}, {"pretrained": "/no/such/folder"}]
)
def test_bert_refuses_when_sizes_do_not_fit(change):
    with pytest.raises(ConfigError):
        Bert(num_classes=3, **{**TINY_BERT, **change})


def test_bert_takes_weights_and_sizes_when_pretrained(bert, tmp_path):
    bert.encoder.save_pretrained(tmp_path)
    sizes = {key: TINY_BERT[key] for key in ("vocabulary_size", "pad_id", "max_length")}
    model = Bert(num_classes=5, pretrained=str(tmp_path), dropout=0.3, **sizes)
    weights = model.encoder.state_dict()
    for name, value in bert.encoder.state_dict().items():
        torch.testing.assert_close(weights[name], value)
    assert model.encoder.config.hidden_dropout_prob == 0.3
    with pytest.raises(ConfigError, match="60 tokens"):
        Bert(num_classes=5, pretrained=str(tmp_path), **{**sizes, "vocabulary_size": 60})


def test_bert_refuses_when_pretrained_weights_are_missing_from_the_folder(bert, tmp_path):
    bert.encoder.save_pretrained(tmp_path)
    state = {k: v for k, v in bert.encoder.state_dict().items() if "layer.1" not in k}
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    sizes = {key: TINY_BERT[key] for key in ("vocabulary_size", "pad_id", "max_length")}
    with pytest.raises(ConfigError, match="missing"):
        Bert(num_classes=5, pretrained=str(tmp_path), **sizes)


@pytest.mark.parametrize("kind", ["resnet", "mlp", "bert"])
def test_description_rebuilds_the_model_without_pretrained_weights(kind, bert):
    models = {
        "resnet": lambda: ResNet(num_classes=3, channels=1, **TINY),
        "mlp": lambda: MLP(num_classes=3, channels=1, height=4, width=4),
        "bert": lambda: bert,
    }
    model = models[kind]()
    again = rebuild_model(describe_model(model))
    again.load_state_dict(model.state_dict())
    assert describe_model(again) == describe_model(model)
