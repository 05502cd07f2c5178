"""Problems: what policies are trained and evaluated on, and how a prompt is rendered."""

from tradeoffs.tasks.problems import load_problems, stratified
from tradeoffs.tasks.prompts import code_messages, direction_weights, general_messages

__all__ = ["code_messages", "direction_weights", "general_messages", "load_problems", "stratified"]
