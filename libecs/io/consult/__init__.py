"""What people ask about templates and plans, answered as JSON documents: by a core's host, and by coconut itself.

Both give the same document for the same templates, so whoever prints or shows one need not know where it comes from.
"""
