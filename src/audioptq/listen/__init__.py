"""Blind listening tests: builds the page that people listen with, collects their answers, and says what they show."""
