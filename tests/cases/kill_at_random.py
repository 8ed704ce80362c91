#!/usr/bin/env python3
"""D1 with 20 kills and its control; tests/crash/kill.py says what is looked at."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "crash"))
os.environ["VRS_KILLS"] = os.environ.get("VRS_KILLS", "20")
from kill import main  # noqa: E402

if __name__ == "__main__":
    main()
