/* The network of the line: posts of lib/client.h that are on their way to tablet-api's door
 * (line_in.c), and its answers on their way back. */
#ifndef TESTS_SIM_LINE_H
#define TESTS_SIM_LINE_H

#include "tests/sim/machine.h"

/* How messages are treated from now on; NULL: faultlessly.  What is on its way stays. */
void line_reset(const struct machine_network *network);
void line_clear(void);
size_t line_messages(void);
void line_message(size_t i); /* it arrives, or not */
void line_drop_all(void);    /* the door's process died: its requests and answers are gone */

#endif
