"""``python -m sweeper``"""

from sweeper.cli import main

if __name__ == "__main__":  # a forkserver imports this module under another name
    main()
