"""ToCa and DuCa, the paper's token-wise comparators, here for its tables only and without reflection.

`rules` says which step does what and how many tokens it computes, `layers` computes just those in the
transformer's own blocks, `toca` puts either of them on a pipeline. Written from the published rules;
no code is taken over.
"""
