"""Record files scored by a stored model: tags, distillation sets, evaluations."""
