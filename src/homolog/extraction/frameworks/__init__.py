"""Models of frameworks other than PyTorch as functions of a batch: ONNX, Keras, Flax, Equinox; imported where they are needed."""
