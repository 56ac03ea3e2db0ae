"""Where the network computes: its crops, its training steps, its answers.

`crops` are those of `CropSampler`, read from scans that lie on the device; `steps` takes several
training steps in one call; `forward` leaves the network's answer where it was computed; `precision`
says which numbers to compute in.
"""
