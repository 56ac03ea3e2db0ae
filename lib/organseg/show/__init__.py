"""Pictures of cases and networks, for notebooks and files: nothing that computes needs them.

picture       what they are made with: a figure measured in inches, and pieces of HTML
slices        axial, coronal and sagittal slices with the organs in colour, contact sheets
scroller      a slice scroller in one piece of HTML
mesh          organs in three dimensions, to turn in the browser
sliders       sliders around a function that draws, with all their pictures
architecture  what a Keras model is made of
diagrams      draws it
"""
