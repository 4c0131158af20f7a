"""What is made of trained networks of features: tags, ensembles, distillation sets; and features of videos."""
