"""The audit of a function: which laws of its group it breaks, how smooth it is, its forces.

Not `testing.audit`: that name is the function, and a module cannot share it.
"""
