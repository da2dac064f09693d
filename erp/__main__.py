"""`python -m erp` is `erp`: how the supervisor starts its children, whatever the PATH says."""

from erp.cli import main

if __name__ == "__main__":  # a worker that multiprocessing spawns imports this module again
    main()
