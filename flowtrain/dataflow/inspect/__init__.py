"""Looking at a flow: PrintData, TestDataSpeed, explain, show."""

from .explain import explain  # gives DataFlow.explain what it calls

__all__ = ["explain"]
