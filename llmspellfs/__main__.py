"""`python -m llmspellfs` is the `llmspellfs` command."""

from llmspellfs.cli import main

if __name__ == "__main__":
    main()
