"""Pages about the models of the zoo: tables of cards and weights, what each costs, and how each was trained."""
