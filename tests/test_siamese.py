"""The Siamese network, its file, and its exported graph."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the extra train")

from facedex.errors import ModelError  # noqa: E402
from facedex.model.encoder import GraphEncoder, open_encoder  # noqa: E402
from facedex.model.head import Head  # noqa: E402
from facedex.model.modelfile import Branch, ModelFile, read_model, with_graphs  # noqa: E402
from facedex.training.export import export_onnx  # noqa: E402
from facedex.training.l1head import L1Head  # noqa: E402
from facedex.training.networks import ARCHITECTURES, Compact  # noqa: E402
from facedex.training.siamese import Siamese, at_size, from_file, to_file  # noqa: E402


def lively(arch="compact", seed=0, **shape):
    """A network whose BatchNorm statistics are not those of a fresh one, so that folding them wrongly shows."""
    torch.manual_seed(seed)
    model = Siamese(arch, **shape)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.2)
            torch.nn.init.normal_(module.running_mean, 0, 0.2)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    torch.nn.init.uniform_(model.head.v, -2, 2)
    return model.eval()


def exported(model, path):
    """The model of a network, its graph in it; the path."""
    size = model.encoder.size
    with_graphs(to_file(model, {}), [(Branch("own", model.encoder.dim, size), export_onnx(model.encoder, size))]).save(
        path
    )
    return path


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return exported(from_file(to_file(lively(), {})), tmp_path_factory.mktemp("model") / "m.safetensors")


def crops(n, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (n, 112, 112, 3), dtype=np.uint8)


@pytest.mark.parametrize("batch", [1, 7, 64])
def test_graph_and_tensors_give_the_same_embeddings(saved, batch):
    file = read_model(saved)
    expected = from_file(file).embed_crops(crops(batch))
    found, lengths = GraphEncoder(file).encode(crops(batch))
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert lengths.shape == (batch,)
    assert (lengths > 0).all()


def test_numpy_head_equals_torch_head(saved):
    file = read_model(saved)
    model, head = from_file(file), Head.from_file(file)
    a, b = model.embed_crops(crops(5, 1)), model.embed_crops(crops(4, 2))
    with torch.no_grad():
        expected = model.head.pairwise(torch.from_numpy(a), torch.from_numpy(b)).numpy()
    np.testing.assert_allclose(head.pairwise(a, b), expected, atol=1e-4)
    np.testing.assert_allclose(head.logits(a[:4], b), np.diag(expected[:4]), atol=1e-4)


def test_the_heads_weights_cannot_become_negative():
    head = L1Head(8, normalised=True)
    with torch.no_grad():
        head.v -= 100
    assert (head.weight >= 0).all()
    a, b = torch.randn(1, 8), torch.randn(1, 8)
    assert head(a, b) <= head(a, a)


@pytest.mark.parametrize("free", [False, True])
def test_pairwise_equals_pair_by_pair(free):
    torch.manual_seed(1)
    head = L1Head(16, normalised=False, free=free)
    torch.nn.init.normal_(head.v)
    a, b = torch.randn(3, 16), torch.randn(4, 16)
    expected = torch.stack([torch.stack([head(x, y) for y in b]) for x in a])
    torch.testing.assert_close(head.pairwise(a, b), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("bases", [1, 3])
def test_the_head_is_kochs_equation_on_what_the_frame_shows(bases):
    head = L1Head(4, normalised=True, bases=bases)
    torch.nn.init.normal_(head.v)
    a, b = torch.rand(4), torch.rand(4)
    frame = np.eye(4) if bases == 1 else head.frame.numpy()
    expected = float(head.beta.detach())
    for v, row in zip(head.v.tolist(), frame.tolist(), strict=True):
        seen = [sum(number * float(x) for number, x in zip(row, face, strict=True)) for face in (a, b)]
        expected -= np.log1p(np.exp(v)) * abs(seen[0] - seen[1])
    assert float(head(a, b).detach()) == pytest.approx(expected, rel=1e-5)


def test_with_more_bases_the_heads_distance_comes_nearer_to_the_length():
    a, b = torch.nn.functional.normalize(torch.randn(2, 3000, 128, generator=torch.Generator().manual_seed(0)), dim=2)
    noise = {}
    for bases in (1, 4):
        head = L1Head(128, normalised=True, bases=bases)
        with torch.no_grad():
            ratio = (head.beta - head(a, b)) / (a - b).norm(dim=1)
        noise[bases] = float(ratio.std() / ratio.mean())
        assert ratio.mean() == pytest.approx(10, rel=0.02)  # some 14 for strangers, sqrt(2) apart
    # One basis: (pi - 3) / 2 by number, as the sum of their squares is held (delta method); several average it out.
    assert noise[1] == pytest.approx(np.sqrt((np.pi - 3) / 2 / 128), rel=0.1)
    assert noise[4] == pytest.approx(noise[1] / 2, rel=0.1)


def test_a_frame_is_of_orthonormal_bases_and_what_is_stored_is_what_is_used():
    head = Siamese("compact").head
    assert head.bases == 4
    assert torch.equal(head.frame[:128], torch.eye(128))
    for base in head.frame.split(128):
        torch.testing.assert_close(base @ base.T, torch.eye(128), atol=2e-3, rtol=0)
    assert torch.equal(head.frame.half().float(), head.frame)
    assert L1Head(512, normalised=True).frame is None
    assert Siamese("koch").head.frame is None


def test_a_model_of_before_frames_is_read_as_it_was_and_a_frame_that_does_not_fit_is_refused():
    model = Siamese("compact", bases=1).eval()
    file = to_file(model, {})
    assert "head.frame" not in file.tensors
    assert len(file.tensors["head.v"]) == 128
    again, x = from_file(file), torch.rand(2, 3, 112, 112) * 255
    torch.testing.assert_close(again(x[:1], x[1:]), model(x[:1], x[1:]), atol=2e-2, rtol=1e-2)
    assert again.head.frame is None
    assert at_size(again, 80).head.frame is None
    framed = to_file(Siamese("compact"), {})
    for wrong in (
        framed.tensors["head.frame"][:-128],
        framed.tensors["head.frame"][:, :-1],
        np.float16(1),
        np.ones((0, 128)),
    ):
        other = ModelFile({**framed.tensors, "head.frame": np.asarray(wrong)}, framed.meta)
        for read in (from_file, Head.from_file):
            with pytest.raises(ModelError):
                read(other)


def test_one_encoder_serves_both_faces():
    model = lively()
    x, y = torch.rand(2, 3, 112, 112) * 255, torch.rand(2, 3, 112, 112) * 255
    torch.testing.assert_close(model(x, y), model(y, x), atol=1e-4, rtol=1e-4)


def test_compact_has_a_model_of_about_a_million_parameters():
    count = sum(p.numel() for p in Compact().parameters())
    assert 0.8e6 < count < 2e6


def test_koch_is_the_network_of_the_paper():
    model = Siamese("koch")
    convolutions = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d)]
    assert [(c.out_channels, c.kernel_size[0]) for c in convolutions] == [(64, 10), (128, 7), (128, 4), (256, 4)]
    assert model.embed(torch.rand(1, 3, 112, 112) * 255).shape == (1, 4096)
    assert 27e6 < sum(p.numel() for p in model.parameters()) < 27.6e6


def test_koch_is_refused_where_an_index_is_needed(tmp_path):
    to_file(Siamese("koch"), {}).save(tmp_path / "k.safetensors")
    with pytest.raises(ModelError, match="koch"):
        Head.from_file(read_model(tmp_path / "k.safetensors"))


def test_an_unknown_architecture_is_an_error_that_lists_the_known():
    with pytest.raises(ModelError, match=", ".join(ARCHITECTURES)):
        Siamese("vgg")


def test_tensors_of_another_network_are_refused(tmp_path):
    file = to_file(lively(), {})
    del file.tensors["encoder.project.weight"]
    file.save(tmp_path / "m.safetensors")
    with pytest.raises(ModelError, match="tensors"):
        from_file(read_model(tmp_path / "m.safetensors"))


def test_a_layer_without_counterpart_is_not_exported_silently():
    with pytest.raises(ModelError, match="Tanh"):
        export_onnx(torch.nn.Sequential(torch.nn.Tanh()), 112)


@pytest.mark.parametrize(("size", "widened"), [(80, 3), (64, 0), (96, 0), (112, 0)])
def test_maps_just_too_small_for_opencvs_fast_convolutions_get_their_margin_first(size, widened):
    import onnx

    encoder = at_size(lively(), size).encoder
    nodes = {node.output[0]: node for node in onnx.load_from_string(export_onnx(encoder, size)).graph.node}
    padded = {name: nodes[node.input[0]] for name, node in nodes.items() if node.input[0].endswith("_wide")}
    assert len(padded) == widened
    for name, pad in padded.items():
        assert pad.op_type == "Pad"
        attributes = {each.name: list(each.ints) for each in nodes[name].attribute if each.ints}
        assert attributes["pads"] == [0, 0, 0, 0]
        assert attributes["strides"] == [1, 1]
    assert not any(node.op_type == "Pad" and node not in padded.values() for node in nodes.values())


def test_compact_takes_smaller_crops_in_training_with_the_same_weights():
    torch.manual_seed(0)
    model = Siamese("compact").eval()
    smooth = torch.nn.functional.interpolate(torch.rand(4, 3, 7, 7), (112, 112), mode="bicubic") * 255
    whole = model.embed(smooth)
    for side in (64, 80, 96):
        small = model.embed(torch.nn.functional.interpolate(smooth, (side, side), mode="bilinear", antialias=True))
        assert small.shape == whole.shape
        assert float((small * whole).sum(1).mean()) > float((small * whole.roll(1, 0)).sum(1).mean())


def test_a_network_for_smaller_faces_is_stored_and_run_as_such(tmp_path):
    model = from_file(to_file(at_size(lively(), 80), {}))  # rounded as it is stored
    file = read_model(exported(model, tmp_path / "small.safetensors"))
    assert file.size == 80
    assert file.tensors["encoder.place.weight"].shape[-1] == 5
    ours, theirs = from_file(file).embed_crops(crops(5)), open_encoder(file).encode(crops(5))[0]
    np.testing.assert_allclose(ours, theirs, atol=2e-5)
    assert file.branches == (Branch("own", 128, 80),)
    assert file.identity != replace(file, meta={**file.meta, "size": 84}).identity


def test_a_network_made_for_another_size_answers_as_one_shown_crops_of_that_size():
    model = Siamese("compact").eval()
    np.testing.assert_allclose(
        at_size(model, 80).embed_crops(crops(3)), model.embed_crops(crops(3), side=80), atol=1e-5
    )
    assert at_size(model, 112) is model


def test_a_file_says_how_deep_its_network_is(tmp_path):
    deeper = from_file(to_file(at_size(lively(blocks=(1, 4, 3)), 80), {}))
    assert len(deeper.encoder.blocks) == 8
    file = read_model(exported(deeper, tmp_path / "m.safetensors"))
    assert file.meta["blocks"] == [1, 4, 3]
    assert "blocks" not in to_file(Siamese("koch"), {}).meta
    np.testing.assert_allclose(from_file(file).embed_crops(crops(3)), deeper.embed_crops(crops(3)), atol=1e-6)
    np.testing.assert_allclose(open_encoder(file).encode(crops(3))[0], deeper.embed_crops(crops(3)), atol=2e-5)


def test_a_model_of_an_architecture_that_is_not_known_is_refused():
    file = to_file(lively(), {})
    with pytest.raises(ModelError, match=", ".join(ARCHITECTURES)):
        from_file(replace(file, meta={**file.meta, "arch": "vgg"}))


@pytest.mark.parametrize(
    "blocks", [0, [1, 2], [1, 2, 10**9], [1, 2, "2"], [1.0, 2, 2], [1, True, 2], [1, 2, 0], [1, 2, None]]
)
def test_impossible_numbers_of_blocks_are_refused(blocks):
    file = to_file(lively(), {})
    with pytest.raises(ModelError, match="blocks"):
        from_file(replace(file, meta={**file.meta, "blocks": blocks}))


@pytest.mark.parametrize("size", [0, "80", 4000, 80.5])
def test_a_size_that_is_none_is_an_error(size):
    with pytest.raises(ModelError, match="pixels"):
        _ = ModelFile({}, {"size": size}).size
