"""Audio in and out, and the one log-mel analysis that models and evaluators share."""
