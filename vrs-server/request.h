/* One request of a clerk on its way: gates passed on the loop, work in a partition's transaction on
 * its worker, answer on the loop after the commit.
 *
 * A handler on the loop reads what it needs and calls inside_run (or inside_step for several
 * partitions in turn); `run` works inside the transaction, appends its log entry, and fills the
 * answer; the answer leaves only when the commit is durable.  When `run` fails, its writes are
 * undone, a log entry with the error's name is kept, and the problem is answered.
 *
 * inside_ = on LG-WAN, as against the Internet side's requests in tablet-api. */
#ifndef VRS_SERVER_REQUEST_H
#define VRS_SERVER_REQUEST_H

#include <stdio.h>

#include "lib/crypto.h"
#include "lib/json.h"
#include "vrs-server/session.h"

/* Copies a string into an array; one that is absent (NULL) leaves the array as it was. */
#define INSIDE_COPY(field, from)                                                                   \
    do {                                                                                           \
        if ((from) != NULL)                                                                        \
            (void)snprintf(field, sizeof(field), "%s", from);                                      \
    } while (0)

struct inside_request;
typedef enum vrs_err inside_fn(struct inside_request *in, struct partition *p);
typedef void inside_done_fn(struct inside_request *in);

struct inside_request {
    struct pool_job job; /* first */
    struct server *server;
    struct http_request *rq;
    struct session session; /* a copy: rights as they were at the gate */
    struct log_actor actor; /* of the session, for log entries */
    const char *act;        /* stable name for the log: set by the handler, e.g. "dose.correct" */
    const char *purpose;    /* default "vaccination_record" (予防接種事務) */
    json_t *body;           /* parsed, owned; NULL when the route has none */
    uint64_t if_match;      /* version, when the route needs If-Match */
    const char *idempotency_key;
    /* the answer */
    int status;               /* default 200 */
    const char *content_type; /* default application/json */
    struct buffer answer;
    uint64_t etag; /* 0: none */
    char location[120];
    char next[24]; /* cursor of a list that is no JSON: Link rel="next" */
    /* why not (set by run when it returns an error; both optional) */
    char detail_ja[400];
    json_t *problem_extra; /* owned */
    void *own;             /* the module's state, from http_arena */
    unsigned pool_flags;   /* for its jobs, beside those that a step gives */
    inside_fn *run;
    inside_done_fn *done;
    char logged_result[24]; /* of the last entry made … */
    uint64_t logged_count;  /* … for the alert rules */
    enum vrs_err failed;    /* what run returned, when a log entry was kept for it */
    bool entry_made;        /* by the present run */
    bool entry_kept;        /* an earlier step's entry is committed */
    bool kick_line;         /* outcomes changed: hand them over after the commit */
    enum vrs_err refusal;   /* inside_refuse, with the words that were ready for it */
    char refusal_ja[400];
    json_t *refusal_extra; /* owned */
    uint64_t more;         /* refusals of this kind before it that got no entry */
};

/* Made by the gate and kept as the request's context; NULL when out of memory. */
struct inside_request *inside_make(struct http_request *rq);
struct inside_request *inside_of(struct http_request *rq);
/* Sets the session (and the actor from it). */
void inside_set_session(struct inside_request *in, const struct session *session);
/* A refusal at a gate: logged in the session's municipality, then answered. */
void inside_refuse(struct inside_request *in, enum vrs_err e);
/* A refusal of somebody without a session: logged in the terminal's municipality (the registry when
 * it is none of ours), thinned out by refusals.h to `most` a window, then answered.  `user`: who
 * they say they are, NULL unknown. */
struct tls_peer;
enum { REFUSALS_A_WINDOW = 100 };
void inside_refuse_stranger(struct inside_request *in, const struct tls_peer *peer,
                            const char *user, enum vrs_err e, unsigned most);
/* Runs `run` in the session's own municipality (POOL_CREATE) with idempotency where the route has
 * ROUTE_IDEMPOTENT, then answers. */
void inside_run(struct inside_request *in, inside_fn *run);
/* Runs `run` in any partition, then `done` on the loop with in->job.err (no answer is sent); at once
 * with ERR_BUSY when the queue is full. */
void inside_step(struct inside_request *in, const char *municipality, unsigned pool_flags,
                 inside_fn *run, inside_done_fn *done);
/* For routes that read a log: the request goes to the partition whose log is meant (session_scope),
 * and leaves its entry there.  False: refused. */
bool inside_scope(struct inside_request *in);
/* Ends the request: in->answer, or the problem for `e`. */
void inside_answer(struct inside_request *in, enum vrs_err e);
/* The subject of acts on the whole register (an export): found in every person's list. */
extern const struct record_id inside_everybody;
/* Appends the one log entry of a request. */
VRS_CHECK enum vrs_err inside_log(struct inside_request *in, struct partition *p,
                                  const struct person *person, const struct record_id *subjects,
                                  size_t subject_count, uint64_t count, const char *result,
                                  const char *detail);
/* What an Idempotency-Key stands for: a digest of route, {id} and body (to be wiped where the body
 * is secret).  The same key with anything else is ERR_KEY_REUSED. */
VRS_CHECK enum vrs_err inside_content(const struct inside_request *in,
                                      uint8_t out[CRYPTO_HASH_BYTES]);
/* Compact JSON of v (new reference, stolen) into in->answer. */
VRS_CHECK enum vrs_err inside_json(struct inside_request *in, json_t *v);
/* Reads in->body by a field table; errors name the field. */
VRS_CHECK enum vrs_err inside_read(struct inside_request *in, const struct json_field *fields);
/* {id} of the route; ERR_NOT_FOUND when it is no id. */
VRS_CHECK enum vrs_err inside_id(struct inside_request *in, const char *param,
                                 struct record_id *out);

#endif
