/* A small daemon behind a unix socket, and its clients: vrs-number and vrs-signer.
 *
 * A message is u32be length, then that many bytes.  Peers are known by their uid (SO_PEERCRED).
 * What is not exactly a message ends the connection.  One thread; everything is bounded:
 * connections, a connection's unread requests, the requests of a round, its unsent answers. */
#ifndef VRS_LIB_LOCAL_H
#define VRS_LIB_LOCAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/buffer.h"
#include "lib/err.h"

enum { LOCAL_HEAD_BYTES = 4, LOCAL_ROUND_MAX = 4096 /* requests of a round */ };

/* --- messages --- */

/* The length of the first whole message in p[0..n): 0 not all there yet; ERR_PROTOCOL when it is
 * empty or longer than max. */
VRS_CHECK enum vrs_err local_message_length(const uint8_t *p, size_t n, size_t max, size_t *len);
/* size_t mark = local_begin(b); …puts…; local_end(b, mark); a failed buffer stays failed. */
size_t local_begin(struct buffer *b);
void local_end(struct buffer *b, size_t mark);

/* --- the daemon --- */

struct local_counts {
    size_t connections;
    uint64_t accepted, refused_peers, bad_messages, requests, rounds;
};

/* What a daemon does with messages.  Requests of a round stand in one array, `request_bytes` each,
 * in the order of their connections. */
struct local_service {
    const char *peer_refused, *bad_message; /* names of events */
    size_t max_message, request_bytes;
    /* Anything but VRS_OK ends the connection; `fini` is called in either case. */
    enum vrs_err (*read)(void *request, const uint8_t *p, size_t n);
    void (*fini)(void *request);
    size_t (*longest_answer)(const void *request); /* with its head, at most max_message + head */
    void (*run)(void *requests, size_t n, const struct local_counts *counts, void *arg);
    void (*write)(const void *request, struct buffer *out); /* one message */
    /* After each round, and when the time it asked for has passed; answers the milliseconds until
     * it wants to be called again, -1: with the next round.  May be NULL. */
    int (*idle)(void *arg);
    void *arg;
};

struct local_options {
    uid_t peer_uid;         /* who may connect, and nobody else, not even root */
    size_t max_connections; /* further ones wait in the backlog */
};

/* How such a daemon starts, before its keys and its sandbox: the clock, the socket (root may have to
 * give it away), limits and uid. */
struct local_start {
    const char *program, *socket, *clock_file; /* clock_file "": none; development only */
    int64_t socket_gid;                        /* -1: as made */
    int64_t uid, max_files;                    /* as daemon_options */
    bool dumpable, development;
};
VRS_CHECK enum vrs_err local_start(const struct local_start *o, int *listener,
                                   struct vrs_fault *fault);
/* What selfcheck asks of the process: name=value lines. */
enum { LOCAL_FACTS = 256 };
void local_facts(uid_t peer_uid, bool dumpable, char out[LOCAL_FACTS]);
/* Replaces what is left of an earlier start, 0660.  uid and gid own the socket; (uid_t)-1 and
 * (gid_t)-1: as made.  Before daemon_start, so that root can give it away. */
VRS_CHECK enum vrs_err local_listen(const char *path, uid_t uid, gid_t gid, int *fd,
                                    struct vrs_fault *fault);
/* SIGTERM and SIGINT end local_serve after the round at work; SIGPIPE is ignored. */
VRS_CHECK enum vrs_err local_signals(struct vrs_fault *fault);
/* One round: wait; read what is there; run all requests; answer.  What comes meanwhile gathers in
 * the sockets, so that work groups by itself.  Buffers and the stack are wiped in every round.
 * Until a signal, or a failure of poll itself.  Takes `listener`. */
VRS_CHECK enum vrs_err local_serve(int listener, const struct local_options *o,
                                   const struct local_service *service, struct vrs_fault *fault);

/* --- its client: one thread, blocking, reconnects --- */

struct local_client;
VRS_CHECK enum vrs_err local_client_open(const char *path, size_t max_request, size_t max_answer,
                                         struct local_client **out);
void local_client_close(struct local_client **c);
/* Where the next requests are written with local_begin; local_exchange sends and clears it. */
struct buffer *local_client_out(struct local_client *c);
/* Sees each whole answer (without head), until it sets *done; anything but VRS_OK is fatal. */
typedef enum vrs_err local_answer_fn(const uint8_t *p, size_t n, bool *done, void *arg);
/* Sends what was written and reads until done.  ERR_INSIDE_AWAY: nobody there, nothing was asked;
 * ERR_UNKNOWN: the connection broke; ERR_TIMEOUT: until_ms (monotonic) passed; ERR_TOO_LARGE: the
 * requests did not fit.  After any error the next exchange connects anew, so that a late answer
 * cannot be taken for another. */
VRS_CHECK enum vrs_err local_exchange(struct local_client *c, local_answer_fn *fn, void *arg,
                                      int64_t until_ms);

#endif
