"""Programs whose Python changes Python state, for the tests of commit actions."""
