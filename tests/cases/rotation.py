#!/usr/bin/env python3
"""S5 with two kills a rotation, and its control; tests/crash/rotation.py says what is looked at."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "crash"))
os.environ["VRS_ROTATION_KILLS"] = os.environ.get("VRS_ROTATION_KILLS", "2")
from rotation import main  # noqa: E402

if __name__ == "__main__":
    main()
