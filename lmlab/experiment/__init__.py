"""One ordinary run from recipe to summary: start, resume, branch, finish, and loading its model."""
