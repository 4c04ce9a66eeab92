"""K3M: pretraining on a product catalogue held in a graph database (config, sampler, model, trainer, run)."""
