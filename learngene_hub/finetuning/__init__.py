"""From a gene and a folder of images to a trained network that timm loads, and from there to predictions."""

from learngene_hub.finetuning.choice import Suited, rank_genes
from learngene_hub.finetuning.fit import Settings
from learngene_hub.finetuning.photos import Photos
from learngene_hub.finetuning.predict import Prediction, Predictor
from learngene_hub.finetuning.run import FineTuned, finetune

__all__ = ["FineTuned", "Photos", "Prediction", "Predictor", "Settings", "Suited", "finetune", "rank_genes"]
