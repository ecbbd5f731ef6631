"""`python -m service.cli` is `fusebox`, for a parent that must be sure to start its own installation."""

from service.cli import main

main()
