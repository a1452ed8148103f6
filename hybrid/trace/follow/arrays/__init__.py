"""Arrays that Python computes from data among the arguments of a call, which a replay computes
again; imports from the modules beside it what is known of slots, terms and operands.
"""
