"""New values of tensors: of handles and all that sees their memory, and of parts in place."""
