"""What the explorer shows of a model: attentions, predictions, saliency, and where a corpus says the like."""
