"""Training on Epic-Kitchens' verbs and nouns."""
