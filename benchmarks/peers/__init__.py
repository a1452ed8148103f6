"""The workloads in other frameworks, each written as its own users write it."""
