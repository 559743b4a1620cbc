# TensorFlow makes most of its names when it is imported, where no type checker sees them. This stub takes each as Any,
# so that pyright's attribute checks can be on for all other code.
from typing import Any

def __getattr__(name: str) -> Any: ...
