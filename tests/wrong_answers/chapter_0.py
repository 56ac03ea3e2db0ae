"""Typical wrong answers to the exercise of chapter 0: the exercise, the answer, words of the hint it must get."""

WRONG = [
    ("0.1", 7, "none of the organs"),
    ("0.1", 1, "choose from"),
    ("0.1", 96, "Count the organs"),
    ("0.1", "eight", "whole number"),
]
