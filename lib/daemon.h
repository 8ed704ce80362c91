/* How a daemon starts and ends: limits, no core dumps, uid, signals, readiness.
 *
 * Order in main: secret_install_allocators, config_main, daemon_start (limits, dumpable off, uid
 * drop), load what loads late, sandbox_enter, then threads and listeners. */
#ifndef VRS_LIB_DAEMON_H
#define VRS_LIB_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

struct event_base;

struct daemon_options {
    const char *program;
    int64_t uid;       /* > 0: become this uid and gid when started as root; 0: stay */
    bool dumpable;     /* development: allow core dumps and tracing (tests of proofs) */
    int64_t max_files; /* raise RLIMIT_NOFILE to this */
};

VRS_CHECK enum vrs_err daemon_start(const struct daemon_options *o, struct vrs_fault *fault);
/* SIGTERM and SIGINT call `stop` once on the loop; SIGPIPE is ignored; when the parent ends and
 * die_with_parent is set the daemon ends too. */
VRS_CHECK enum vrs_err daemon_signals(struct event_base *base, void (*stop)(void *arg), void *arg);
/* Tells a supervisor that listeners are open: sd_notify("READY=1") when NOTIFY_SOCKET is set, and
 * the event daemon.ready in the log. */
void daemon_ready(void);

#endif
