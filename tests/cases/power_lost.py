#!/usr/bin/env python3
"""D2 with two power losses on ext4 and one control; tests/crash/power_loss.py says what is looked at."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "crash"))
for name, value in (("LOSSES", "2"), ("FILE_SYSTEMS", "ext4"), ("CONTROLS", "vrs-server")):
    os.environ.setdefault("VRS_" + name, value)
from power_loss import main  # noqa: E402

if __name__ == "__main__":
    main()
