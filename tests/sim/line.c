#include "tests/sim/line.h"

#include <stdlib.h>
#include <string.h>

#include "lib/client.h"
#include "tablet-api/line_in.h"
#include "tests/sim/http.h"

enum { POSTS = 32, LATE = 16 };

/* One POST.  SENT ─► AT_DOOR ─► ANSWERED ─► gone; lost: the caller is told, as after a time-out. */
struct post {
    enum { FREE, SENT, AT_DOOR, ANSWERED } state;
    char path[40];
    uint8_t *body, *reply;
    size_t len, reply_len;
    int status;
    unsigned late;         /* chances it lets go by */
    struct client *client; /* NULL: nobody waits any more, or it is the second copy */
    client_done_fn *done;
    void *arg;
    struct http_request *rq;
};

struct client {
    int unused;
};

struct tablet *machine_door;
static struct post posts[POSTS];
static struct machine_network faults;

void line_reset(const struct machine_network *network) {
    faults = network != NULL ? *network : (struct machine_network){0};
}

static void clear(struct post *p);

void line_clear(void) {
    for (size_t i = 0; i < POSTS; i++)
        clear(&posts[i]);
}

static bool chance(unsigned one_in) {
    return one_in > 0 && chance_one_in(&machine_chance, one_in);
}

static void clear(struct post *p) {
    if (p->rq != NULL)
        p->rq->post = NULL;
    free(p->body);
    free(p->reply);
    memset(p, 0, sizeof *p);
}

/* ---- the inside's end */

enum vrs_err client_open(struct event_base *base, const struct client_options *o,
                         struct client **out, struct vrs_fault *fault) {
    (void)base, (void)o, (void)fault;
    *out = calloc(1, sizeof **out);
    return *out != NULL ? VRS_OK : ERR_MEMORY;
}

void client_close(struct client **c) {
    for (size_t i = 0; i < POSTS; i++)
        if (posts[i].client == *c)
            posts[i].client = NULL;
    free(*c);
    *c = NULL;
}

static struct post *free_post(void) {
    for (size_t i = 0; i < POSTS; i++)
        if (posts[i].state == FREE)
            return &posts[i];
    return NULL;
}

enum vrs_err client_start(struct client *c, const struct client_call *call) {
    struct post *p = free_post();
    if (p == NULL)
        return ERR_BUSY;
    *p = (struct post){
        .state = SENT, .len = call->len, .client = c, .done = call->done, .arg = call->arg};
    strncpy(p->path, call->path, sizeof p->path - 1);
    p->body = malloc(call->len + 1);
    if (p->body == NULL)
        return ERR_MEMORY;
    memcpy(p->body, call->body, call->len);
    p->late = chance(faults.late) ? 1 + (unsigned)chance_below(&machine_chance, LATE) : 0;
    struct post *copy = chance(faults.twice) ? free_post() : NULL;
    if (copy != NULL && (copy->body = malloc(call->len + 1)) != NULL) {
        uint8_t *body = copy->body;
        *copy = *p;
        copy->body = body;
        copy->client = NULL;
        copy->late = (unsigned)chance_below(&machine_chance, LATE);
        memcpy(copy->body, call->body, call->len);
    }
    return VRS_OK;
}

static void tell(struct post *p, const struct client_reply *r) {
    client_done_fn *done = p->client != NULL ? p->done : NULL;
    void *arg = p->arg;
    uint8_t *reply = p->reply;
    p->reply = NULL;
    clear(p);
    if (done != NULL)
        done(r, arg);
    free(reply);
}

static void lose(struct post *p, bool sent) {
    const struct client_reply r = {.err = sent ? ERR_TIMEOUT : ERR_INSIDE_AWAY,
                                   .sent = sent,
                                   .content_type = "",
                                   .retry_after_ms = -1,
                                   .date = ""};
    tell(p, &r);
}

/* ---- the door's end */

void *http_arg(const struct http_request *rq) {
    return rq->arg;
}

const void *http_body(const struct http_request *rq, size_t *len) {
    *len = rq->len;
    return rq->body;
}

static void answer(struct http_request *rq, int status, enum vrs_err e, const void *body,
                   size_t len) {
    struct post *p = rq->post;
    if (rq->answered != NULL)
        rq->answered(rq, e, body, len);
    if (p != NULL) {
        p->rq = NULL;
        p->status = status;
        p->reply = malloc(len + 1);
        p->reply_len = p->reply != NULL ? len : 0;
        if (len > 0 && p->reply != NULL)
            memcpy(p->reply, body, len);
        p->state = ANSWERED;
        p->late = chance(faults.late) ? 1 + (unsigned)chance_below(&machine_chance, LATE) : 0;
    }
    arena_close(&rq->arena);
    free(rq->body);
    free(rq);
}

void http_reply(struct http_request *rq, int status, const char *content_type, const void *body,
                size_t len) {
    (void)content_type;
    answer(rq, status, VRS_OK, body, len);
}

void http_problem(struct http_request *rq, enum vrs_err e, const char *detail_ja,
                  const struct json_t *extra) {
    (void)detail_ja, (void)extra;
    answer(rq, err_status(e), e, NULL, 0);
}

void http_problem_fault(struct http_request *rq, const struct vrs_fault *fault) {
    http_problem(rq, fault->err, NULL, NULL);
}

static void arrive(struct post *p) {
    static const struct {
        const char *path;
        void (*handler)(struct http_request *rq);
    } doors[] = {{"/line/v1/pull", line_pull},
                 {"/line/v1/outcomes", line_outcomes},
                 {"/line/v1/replay", line_replay}};
    struct http_request *rq = machine_door != NULL ? calloc(1, sizeof *rq) : NULL;
    if (rq == NULL) {
        lose(p, false);
        return;
    }
    *rq = (struct http_request){.post = p, .arg = machine_door, .body = p->body, .len = p->len};
    p->body = NULL;
    p->rq = rq;
    p->state = AT_DOOR;
    for (size_t i = 0; i < sizeof doors / sizeof *doors; i++) {
        if (strcmp(doors[i].path, p->path) == 0) {
            doors[i].handler(rq);
            return;
        }
    }
    http_problem(rq, ERR_NOT_FOUND, NULL, NULL);
}

/* ---- what is on its way */

static bool moves(const struct post *p) {
    return p->state == SENT || p->state == ANSWERED;
}

size_t line_messages(void) {
    size_t n = 0;
    for (size_t i = 0; i < POSTS; i++)
        n += moves(&posts[i]);
    return n;
}

void line_message(size_t i) {
    struct post *p = posts;
    while (!moves(p) || i-- > 0)
        p++;
    if (p->late > 0) {
        p->late--;
        return;
    }
    bool sent = p->state == ANSWERED;
    if (chance(faults.lose) || (sent && p->status == 0)) {
        lose(p, sent);
        return;
    }
    if (!sent) {
        arrive(p);
        return;
    }
    const struct client_reply r = {.err = VRS_OK,
                                   .sent = true,
                                   .status = p->status,
                                   .content_type = "",
                                   .body = p->reply,
                                   .len = p->reply_len,
                                   .retry_after_ms = -1,
                                   .date = ""};
    tell(p, &r);
}

void line_drop_all(void) {
    for (size_t i = 0; i < POSTS; i++) {
        if (posts[i].rq != NULL)
            posts[i].rq->post = NULL;
        posts[i].rq = NULL;
        if (posts[i].state == AT_DOOR || posts[i].state == ANSWERED) {
            free(posts[i].reply);
            posts[i].reply = NULL;
            posts[i].reply_len = 0;
            posts[i].status = 0; /* the connection broke */
            posts[i].state = ANSWERED;
        }
    }
}
