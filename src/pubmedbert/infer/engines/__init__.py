"""What computes states and logits: ONNX graphs made from checkpoints, in fp32 and int8, and torch as the reference."""
