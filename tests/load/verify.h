/* Asks for every receipt of the journal until its outcome is final. */
#ifndef TESTS_LOAD_VERIFY_H
#define TESTS_LOAD_VERIFY_H

#include "tests/load/conn.h"
#include "tests/load/options.h"

/* Prints one line of JSON; *ok: none lost (404), none doubled (two keys with one receipt, two
 * receipts with one claim), none changed its final outcome, none is pending after `drain_s`. */
VRS_CHECK enum vrs_err verify_run(const struct load_options *o, const struct conn_target *t,
                                  bool *ok, struct vrs_fault *fault);

#endif
