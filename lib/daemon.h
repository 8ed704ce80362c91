/* How a daemon starts and ends: limits, no core dumps, uid, signals, readiness.
 *
 * Order: daemon_main (allocators, log, configuration), then in `serve` daemon_start (limits, dumpable
 * off, uid drop), load what loads late, sandbox_enter, then threads and listeners. */
#ifndef VRS_LIB_DAEMON_H
#define VRS_LIB_DAEMON_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

struct config_key;
struct event_base;

/* The whole of main: reads the command line and the configuration into `config` (config_main), lets
 * `serve` run until the daemon ends, says why it failed.  Answers the exit status. */
int daemon_main(const char *program, int argc, char **argv, const struct config_key *keys,
                void *config, enum vrs_err (*serve)(void *arg, struct vrs_fault *fault), void *arg);

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
