"""The command line, and what it says of a file or a machine before it works.

main       the commands' arguments, and how errors end
work       what each command does
doubts     what looks wrong with a scan although it can be read
preflight  what a training takes on this machine
"""
