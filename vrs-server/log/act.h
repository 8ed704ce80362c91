/* What the access log calls things, and what a person calls them: one table of the acts (and of
 * purposes, results and sides), with the plain Japanese that lists and downloads show.  A case reads
 * the sources and the logs: an act without a name here fails. */
#ifndef VRS_SERVER_LOG_ACT_H
#define VRS_SERVER_LOG_ACT_H

#include <stdbool.h>

enum act_kind {
    ACT_REQUEST, /* of a request: each leaves one */
    ACT_FOLLOWS, /* what a request set going: a part of an import, the answer to an inquiry … */
    ACT_OUTSIDE, /* told by the Internet side */
    ACT_REFUSED, /* told by the Internet side: it refused */
    ACT_CONTROL, /* a command of the operator */
    ACT_SYSTEM,  /* by itself, when its time has come */
};

/* False: not in the table. */
bool act_find(const char *act, enum act_kind *kind);
/* In plain Japanese; what has no name is shown as it is. */
const char *act_name(const char *act);
const char *act_purpose_name(const char *purpose);
const char *act_result_name(const char *result);
const char *act_source_name(const char *source);
bool act_refuses(const char *act); /* ACT_REFUSED */

#endif
