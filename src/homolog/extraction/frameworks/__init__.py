"""Models of frameworks other than PyTorch as functions of a batch: ONNX, Keras, Flax, Equinox. None is imported before it is needed."""
