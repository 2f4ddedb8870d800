"""`python -m stack`: the `surge` command."""

from stack.cli import main

main()
