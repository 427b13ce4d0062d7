"""What is a model in a file? What its class declares, as tensors and JSON, and no code."""

from skdcec._persistence.models import Bundle, as_bytes, load, load_bundle, save
from skdcec._persistence.registry import is_registered, register
from skdcec._persistence.saved import SavedEstimator

__all__ = [
    "Bundle",
    "SavedEstimator",
    "as_bytes",
    "is_registered",
    "load",
    "load_bundle",
    "register",
    "save",
]
