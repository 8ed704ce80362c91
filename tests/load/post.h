/* A run: doses (or other requests, ask.h) over many connections, closed loop or on time.
 *
 *     waiting → sent → acknowledged (201, 202: in the journal, then counted)
 *                    → refused      (other 4xx: counted as failed, never repeated)
 *                    → unknown      (lost, timed out, 5xx, 429, 401): sent again, same key, later
 *
 * What is still unknown when the time to settle is over is counted as unsettled. */
#ifndef TESTS_LOAD_POST_H
#define TESTS_LOAD_POST_H

#include "tests/load/conn.h"
#include "tests/load/journal.h"
#include "tests/load/options.h"

/* Prints one line of JSON; *ok: nothing failed, contradicted itself or stayed unknown. */
VRS_CHECK enum vrs_err post_run(const struct load_options *o, const struct conn_target *t, bool *ok,
                                struct vrs_fault *fault);

#endif
