"""Does preference alignment change how efficiently an LLM answers DS-1000, and what does that trade against correctness?"""

__version__ = "0.1.0"
