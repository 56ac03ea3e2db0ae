"""Typical wrong answers to the exercise of chapter 0: the exercise, the answer, words of the hint it must get.

What it shows of its author's thinking is said in the function's docstring or, where the answer is a value, in a fourth
entry: the page for instructors prints it.
"""

WRONG = [
    ("0.1", 7, "none of the organs", "Counts the organs and forgets the class for everything else, the background."),
    ("0.1", 1, "choose from", "Thinks of one probability, organ or not, and not of one per class."),
    ("0.1", 96, "Count the organs", "Takes a number from elsewhere. The classes can be counted in the legend."),
    ("0.1", "eight", "A number is asked for", "Writes a word where a number is asked for."),
]
