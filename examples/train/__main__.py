"""Train every example model anew: ``make models``."""

from __future__ import annotations

from examples.train import breast_cancer, diabetes, digits, sentiment

if __name__ == "__main__":
    for script in (breast_cancer, digits, diabetes, sentiment):
        script.main()
