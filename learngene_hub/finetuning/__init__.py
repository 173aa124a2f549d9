"""Fine-tune a gene on a folder of images; the result is a network that timm loads, and its predictions."""

from learngene_hub.finetuning.choice import Suited, rank_genes
from learngene_hub.finetuning.fit import Settings
from learngene_hub.finetuning.photos import Photos
from learngene_hub.finetuning.predict import Prediction, Predictor
from learngene_hub.finetuning.run import FineTuned, finetune

__all__ = ["FineTuned", "Photos", "Prediction", "Predictor", "Settings", "Suited", "finetune", "rank_genes"]
