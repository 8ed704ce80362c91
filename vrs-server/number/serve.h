/* The socket of vrs-number and its loop.
 *
 * One round: wait; read what is there; run the requests of each municipality in one transaction;
 * answer.  While a commit is in flight further requests gather in the sockets, so that commits
 * group by themselves.  Everything is bounded: connections, a connection's unread requests, the
 * requests of a round, a connection's unsent answers.  Buffers and the stack are wiped in every
 * round. */
#ifndef VRS_SERVER_NUMBER_SERVE_H
#define VRS_SERVER_NUMBER_SERVE_H

#include <signal.h>
#include <sys/types.h>

#include "vrs-server/number/area.h"

struct serve_options {
    uid_t peer_uid;         /* who may connect: SO_PEERCRED, and nobody else, not even root */
    size_t max_connections; /* further ones wait in the backlog */
    const char *facts;      /* key=value lines that STATUS begins with, borrowed */
};

/* Replaces what is left of an earlier start, 0660.  uid and gid own the socket; (uid_t)-1 and
 * (gid_t)-1: as made.  Before daemon_start, so that root can give it away. */
VRS_CHECK enum vrs_err serve_listen(const char *path, uid_t uid, gid_t gid, int *fd,
                                    struct vrs_fault *fault);
/* SIGTERM and SIGINT end serve_run after the round at work; SIGPIPE is ignored. */
VRS_CHECK enum vrs_err serve_signals(struct vrs_fault *fault);
/* Until a signal, or a failure of poll itself.  Takes `listener`. */
VRS_CHECK enum vrs_err serve_run(int listener, const struct serve_options *o, struct area *a,
                                 struct vrs_fault *fault);

#endif
