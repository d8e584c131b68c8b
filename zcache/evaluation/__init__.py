"""The paper's tables: generate with every method, judge what was generated, and say it in one table.

`methods` and `prompts` read names, `store` keeps what is done, `produce` draws, `judges` and `sets`
score, `results` gathers, `run` does all of it.
"""
