DEFECTS = {}


def find(x):
    return x[0], None
