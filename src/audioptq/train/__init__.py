"""How `mini` and its evaluators are made: synthesised corpus, pretransform fit, DiT, tagger, contrastive pair."""
