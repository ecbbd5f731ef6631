"""From the files that a dataset is published as to the safe form that trainings read: checked once, converted once.

In come a format's name and where its files are; out comes a folder as `training.spec.registration` describes it, or a
DataError that says what is wrong with the files. A format is a function that reads them into a `Found`: to add one,
write it in a file of its own, name it in `Format` and in FORMATS. Knows no torch.
"""
