"""Commands: one module each, with ``parse_args(argv)`` and ``main(args)`` and nothing else."""
