"""The paper's tables: generate with every method, judge what was generated, and say it in one table.

`methods` and `prompts` read names, `store` keeps what is done, `drawing` draws, `sample_scores` and `set_scores`
score, `table` gathers, `evaluate` does all of it.
"""
