"""The networks: shapes of every kind, layers as published, weights from one generator."""

import math

import pytest
import torch
from torch import nn

from skdcec._nn.functional import cosine_assignment, student_t_assignment
from skdcec._nn.modules import (
    ACTIVATIONS,
    ClusteringModule,
    ConvAutoencoderModule,
    DenseAutoencoderModule,
    _halving,
    initialize_weights,
    normalize_embedding,
    use_channels_last,
)
from skdcec._nn.upsampling import Upsampling, _OnCPU

SHAPES = [
    (1, 1, 1),
    (1, 1, 3),
    (1, 9, 1),
    (7, 1, 2),
    (2, 2, 1),
    (2, 3, 4),
    (5, 5, 3),
    (13, 17, 1),
    (8, 31, 3),
    (16, 16, 1),
    (28, 28, 1),
    (33, 20, 5),
]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def conv(image_shape=(8, 8, 1), n_components=3, filters=(4, 8), activation="relu", seed=0):
    return ConvAutoencoderModule(image_shape, n_components, filters, activation, generator(seed))


@pytest.mark.parametrize("filters", [(4,), (4, 8), (3, 4, 5), (2, 3, 4, 5, 6)], ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_images_of_any_shape_come_back_as_they_went_in(shape, filters):
    height, width, channels = shape
    module = conv(shape, 3, filters)
    batch = torch.rand(2, channels, height, width, generator=generator())
    code = module.encode(batch)
    assert code.shape == (2, 3)
    assert module.decode(code).shape == batch.shape


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_pixel_and_every_weight_takes_part(shape):
    height, width, channels = shape
    module = conv(shape, 16, (8, 8), activation="elu")
    batch = torch.rand(4, channels, height, width, generator=generator(), requires_grad=True)
    module.decode(module.encode(batch)).square().sum().backward()
    assert (batch.grad != 0).all()
    for name, parameter in module.named_parameters():
        assert (parameter.grad != 0).any(), name


def test_the_default_layers_are_those_of_guo_et_al():
    module = conv((28, 28, 1), 10, (32, 64, 128))
    assert [type(layer) for layer in module.encoder] == [
        *(nn.Conv2d, nn.ReLU) * 3,
        nn.Flatten,
        nn.Linear,
    ]
    layers = [layer for layer in module.encoder if isinstance(layer, nn.Conv2d)]
    assert [(c.in_channels, c.out_channels) for c in layers] == [(1, 32), (32, 64), (64, 128)]
    assert [c.kernel_size for c in layers] == [(5, 5), (5, 5), (3, 3)]
    assert [c.stride for c in layers] == [(2, 2)] * 3
    mirrors = [layer for layer in module.decoder if isinstance(layer, nn.ConvTranspose2d)]
    assert [(c.in_channels, c.out_channels) for c in mirrors] == [(128, 64), (64, 32), (32, 1)]
    assert [c.kernel_size for c in mirrors] == [(3, 3), (5, 5), (5, 5)]


@pytest.mark.parametrize("size", [(1, 1), (2, 3), (4, 4), (5, 5), (4, 7), (7, 4), (1, 5), (28, 28)])
@pytest.mark.parametrize("n_out", [1, 3, 8])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("by_hand", [False, True], ids=["layer", "by hand"])
def test_upsampling_is_the_transposed_convolution_and_has_its_gradients(
    size, n_out, kernel, by_hand
):
    layer = Upsampling(5, n_out, size, _halving(size, kernel))
    initialize_weights(layer, generator())
    layer.double()
    nn.init.normal_(layer.bias, generator=generator())
    halved = (3, 5, *(math.ceil(length / 2) for length in size))
    x = torch.randn(halved, generator=generator(), dtype=torch.double, requires_grad=True)
    expected = nn.functional.conv_transpose2d(
        x,
        layer.weight,
        layer.bias,
        layer.stride,
        layer.padding,
        output_padding=[int(length > 1 and length % 2 == 0) for length in size],
    )

    def upsample():
        if not by_hand:
            return layer(x)
        geometry = layer.stride, layer.padding, layer.size
        return _OnCPU.apply(x, layer.weight, layer.bias, *geometry)

    torch.testing.assert_close(upsample(), expected)
    slope = torch.randn(expected.shape, generator=generator(), dtype=torch.double)
    inputs = (x, layer.weight, layer.bias)
    torch.testing.assert_close(
        torch.autograd.grad(upsample(), inputs, slope),
        torch.autograd.grad(expected, inputs, slope),
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 5), (28, 28)])
def test_upsampling_in_bfloat16_has_the_values_of_float32(size):
    layer = Upsampling(5, 1, size, _halving(size, 5))
    initialize_weights(layer, generator())
    halved = (3, 5, *(math.ceil(length / 2) for length in size))
    x = torch.randn(halved, generator=generator())
    with torch.autocast("cpu", torch.bfloat16):
        reduced = layer(x.bfloat16())
    assert reduced.dtype == torch.bfloat16
    torch.testing.assert_close(reduced.float(), layer(x), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("size", [(1, 1), (1, 3), (1, 5), (5, 1), (5, 5), (4, 4)])
@pytest.mark.parametrize("n_samples", [1, 2])
def test_what_follows_the_upsampling_may_work_in_place(size, n_samples, dtype):
    module = conv((*size, 1), 2, (4, 8))
    images = torch.rand(n_samples, 1, *size, generator=generator())
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        reconstruction = module.decode(module.encode(images))
    reconstruction.sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


@pytest.mark.parametrize(
    "module",
    [conv(), DenseAutoencoderModule(6, 3, (5, 4), "relu", generator())],
    ids=["conv", "dense"],
)
def test_embedding_and_output_are_linear(module):
    assert isinstance(module.encoder[-1], nn.Linear)
    assert isinstance(module.decoder[-1], (nn.Linear, nn.ConvTranspose2d))


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_every_activation_can_be_chosen(activation):
    module = conv(activation=activation)
    kind = type(ACTIVATIONS[activation]())
    assert any(type(layer) is kind for layer in module.encoder)
    assert any(type(layer) is kind for layer in module.decoder)


@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_no_activation_changes_the_images_or_the_embedding(activation):
    module = conv(activation=activation)
    images = torch.randn(2, 1, 8, 8, generator=generator())
    before = images.clone()
    code = module.encode(images)
    kept = code.detach().clone()
    module.decode(code).sum().backward()
    assert torch.equal(images, before)
    assert torch.equal(code, kept)


def test_dense_layers_have_the_widths_asked_for_and_mirror_them():
    module = DenseAutoencoderModule(6, 3, (50, 40), "relu", generator())
    widths = [layer.out_features for layer in module.encoder if isinstance(layer, nn.Linear)]
    assert widths == [50, 40, 3]
    widths = [layer.out_features for layer in module.decoder if isinstance(layer, nn.Linear)]
    assert widths == [40, 50, 6]
    code = module.encode(torch.zeros(2, 6))
    assert code.shape == (2, 3)
    assert module.decode(code).shape == (2, 6)


@pytest.mark.parametrize(
    "make",
    [
        lambda seed: conv(seed=seed),
        lambda seed: DenseAutoencoderModule(6, 3, (5,), "relu", generator(seed)),
    ],
    ids=["conv", "dense"],
)
def test_initial_weights_come_from_the_generator_alone(make, untouched_global_rng):
    first, again, other = (make(seed).state_dict() for seed in (0, 0, 1))
    for name, value in first.items():
        assert torch.equal(value, again[name])
        assert torch.isfinite(value).all()
        if name.endswith("weight"):
            assert not torch.equal(value, other[name])


def test_a_module_without_a_generator_waits_for_its_weights():
    empty = ConvAutoencoderModule((8, 8, 1), 3, (4, 8), "relu", None)
    assert all(parameter.is_meta for parameter in empty.parameters())
    full = conv()
    empty.load_state_dict(full.state_dict(), assign=True)
    batch = torch.rand(2, 1, 8, 8, generator=generator())
    assert torch.equal(empty.encode(batch), full.encode(batch))


def test_what_one_image_becomes_does_not_depend_on_its_company():
    module = conv((9, 7, 2))
    batch = torch.rand(6, 2, 9, 7, generator=generator())
    together = module.encode(batch)
    alone = torch.cat([module.encode(image[None]) for image in batch])
    torch.testing.assert_close(together, alone)


def test_use_channels_last_changes_the_order_and_not_the_values():
    module = nn.Conv2d(3, 4, 3)
    before = module.weight.detach().clone()
    use_channels_last(module)
    assert module.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(module.weight, before)


def test_cosine_embeddings_have_unit_length_and_keep_their_direction():
    code = torch.tensor([[3.0, 4.0], [0.0, -2.0]])
    torch.testing.assert_close(
        normalize_embedding(code, "cosine"), torch.tensor([[0.6, 0.8], [0.0, -1.0]])
    )
    assert torch.equal(normalize_embedding(code, "euclidean"), code)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_a_clustering_module_embeds_and_assigns_by_its_parts(metric):
    encoder = conv()
    centers = torch.rand(2, 3, generator=generator())
    module = ClusteringModule(encoder, centers.clone(), 2.0, metric)
    batch = torch.rand(5, 1, 8, 8, generator=generator())
    embedding = module.normalize(module.encoder.encode(batch))
    assert torch.equal(embedding, normalize_embedding(encoder.encode(batch), metric))
    expected = {
        "euclidean": student_t_assignment(embedding, centers, 2.0),
        "cosine": cosine_assignment(embedding, centers),
    }
    assert torch.equal(module.assign(embedding), expected[metric])


def test_the_centers_are_trained_with_the_encoder():
    encoder = conv()
    module = ClusteringModule(encoder, torch.zeros(2, 3), 1.0, "euclidean")
    n_encoder = sum(p.numel() for p in encoder.parameters())
    n_all = sum(p.numel() for p in module.parameters())
    assert n_all == n_encoder + math.prod((2, 3))
