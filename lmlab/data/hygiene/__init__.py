"""Checks of a data set's text: duplicates within and across splits, hidden characters, boilerplate, likely secrets.

`check.checked(open_dataset("0123456789abcdef"))` is the whole report on a data set.
"""
