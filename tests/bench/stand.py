"""The stacks that scenarios run on."""
import os

import measure
from generator import Generator
from stack import Stack


def stack_with_towns(home, count=20000):
    """The demonstration's: three towns, imported like anybody's; `generator` posts doses as site-1."""
    stack = Stack(os.path.join(home, "stack"), build=measure.BUILD, count=count, say=lambda text: None)
    try:
        stack.start()
        stack.generator = Generator(stack, home)
    except BaseException:
        stack.stop()
        raise
    return stack
