"""The one door of every op call: from what the user passes to a kernel and a new handle.

Invariant: whoever runs an op comes through here, eager code and graph evaluation alike.
"""
