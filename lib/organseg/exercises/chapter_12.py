"""The exercises of chapter 12, Beyond."""

CAUSES = {
    "A": "learning rate",
    "B": "leak",
    "C": "linear label interpolation",
    "D": "background in the way",
    "E": "flipped labels",
    "F": "batch norm",
    "G": "wrong affine",
    "H": "double softmax",
}
