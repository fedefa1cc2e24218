"""Evaluator networks over clips, references and captions: one file per evaluator."""
