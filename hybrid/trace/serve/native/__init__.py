"""What native entries compare and need."""
