#include "vrs-server/accounts/logins.h"

#include <event2/event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/metric.h"
#include "lib/throttle.h"
#include "lib/tls.h"
#include "vrs-server/accounts/account.h"
#include "vrs-server/request.h"

enum {
    HASHERS = 2, /* argon2id takes 19 MiB and 30 ms: at most two at once */
    HASH_QUEUE = 32,
    TRIES = 10,         /* failed log-ins of one account or terminal … */
    SOURCE_TRIES = 100, /* … and of one address, behind which a town hall may stand … */
    WINDOW_MS = 300000, /* … in five minutes */
    THROTTLE_NAMES = 16384,
};

struct logins {
    struct server *server;
    struct worker *hasher[HASHERS];
    unsigned turn;
    struct throttle *tries, *source_tries;
};

static struct metric m_hashes = {.name = "vrs_password_hashes_total",
                                 .help = "Passwords hashed for log-ins",
                                 .type = METRIC_COUNTER,
                                 .registered = ATOMIC_FLAG_INIT};
static struct metric m_throttled = {.name = "vrs_logins_throttled_total",
                                    .help = "Log-ins refused before hashing",
                                    .type = METRIC_COUNTER,
                                    .registered = ATOMIC_FLAG_INIT};

enum vrs_err logins_open(struct server *server, struct logins **out) {
    struct logins *l = calloc(1, sizeof *l);
    *out = l;
    if (l == NULL)
        return ERR_MEMORY;
    l->server = server;
    l->tries = throttle_open(THROTTLE_NAMES, TRIES, WINDOW_MS);
    l->source_tries = throttle_open(THROTTLE_NAMES, SOURCE_TRIES, WINDOW_MS);
    enum vrs_err e = l->tries != NULL && l->source_tries != NULL ? VRS_OK : ERR_MEMORY;
    for (size_t i = 0; i < HASHERS && e == VRS_OK; i++)
        e = worker_open(server->base, "argon2", HASH_QUEUE, NULL, NULL, &l->hasher[i]);
    metric_register(&m_hashes);
    metric_register(&m_throttled);
    return e;
}

enum vrs_err logins_verify(const char *password, const char *encoded) {
    metric_add(&m_hashes, 1);
    return crypto_password_verify(password, encoded);
}

void logins_close(struct logins **lp) {
    struct logins *l = *lp;
    if (l == NULL)
        return;
    for (size_t i = 0; i < HASHERS; i++) {
        if (l->hasher[i] != NULL)
            worker_close(&l->hasher[i]);
    }
    throttle_close(&l->tries);
    throttle_close(&l->source_tries);
    free(l);
    *lp = NULL;
}

enum vrs_err logins_submit(struct logins *l, struct worker_job *job) {
    return worker_submit(l->hasher[l->turn++ % HASHERS], job) == VRS_OK ? VRS_OK : ERR_BUSY;
}

static void run_plain_hash(struct worker_job *job) {
    struct login_hash *h = (struct login_hash *)job;
    h->err = crypto_password_hash(h->password, h->hash);
}

enum vrs_err logins_hash(struct logins *l, struct login_hash *h) {
    h->job.run = run_plain_hash;
    return logins_submit(l, &h->job);
}

struct account_reading {
    struct pool_job job; /* first */
    struct vrs_fault fault;
    bool over;
};

static enum vrs_err reading_run(struct pool_job *job, struct partition *registry) {
    struct account_reading *r = (struct account_reading *)job;
    memset(&r->fault, 0, sizeof r->fault);
    return accounts_check(registry, &r->fault);
}

static void reading_over(struct pool_job *job) {
    ((struct account_reading *)job)->over = true;
}

enum vrs_err logins_check_accounts(struct server *s, struct vrs_fault *fault) {
    struct account_reading r = {.job = {.run = reading_run, .done = reading_over}};
    memcpy(r.job.municipality, REGISTRY, sizeof r.job.municipality);
    enum vrs_err e = pool_submit(s->pool, &r.job);
    while (e == VRS_OK && !r.over)
        (void)event_base_loop(s->base, EVLOOP_ONCE);
    if (e == VRS_OK)
        e = r.job.err;
    if (e == ERR_NOT_FOUND) /* the first start: there is none */
        return VRS_OK;
    if (e == ERR_CONFIG)
        *fault = r.fault;
    else if (e != VRS_OK)
        *fault = r.job.fault;
    return e;
}

const char *login_home(const char *municipality) {
    return municipality[0] != '\0' ? municipality : REGISTRY;
}

/* --- throttling: a try counts from its start, so that many at once are no more than one after the
 * other, and is taken back when it was no failure --- */

/* Each kind of name apart: a log-in as somebody called like another town's terminal must not lock
 * that terminal out. */
struct names {
    char account[96], terminal[96], source[96];
};

static struct names names_of(struct inside_request *in, const char *user) {
    struct names n = {0};
    (void)snprintf(n.account, sizeof n.account, "account %s", user);
    (void)snprintf(n.terminal, sizeof n.terminal, "terminal %s", http_tls_peer(in->rq)->name);
    (void)snprintf(n.source, sizeof n.source, "source %s", http_peer_address(in->rq));
    return n;
}

bool logins_allow(struct inside_request *in, const char *user) {
    struct logins *l = in->server->logins;
    const struct names n = names_of(in, user);
    int64_t retry_ms = 0;
    char after[24];
    if (throttle_allows(l->tries, n.account, &retry_ms) &&
        throttle_allows(l->tries, n.terminal, &retry_ms) &&
        throttle_allows(l->source_tries, n.source, &retry_ms))
        return true;
    (void)snprintf(after, sizeof after, "%lld", (long long)((retry_ms + 999) / 1000));
    http_set_header(in->rq, "Retry-After", after);
    metric_add(&m_throttled, 1);
    return false;
}

static void count(struct inside_request *in, const char *user,
                  void (*how)(struct throttle *t, const char *name)) {
    struct logins *l = in->server->logins;
    const struct names n = names_of(in, user);
    how(l->tries, n.account);
    how(l->tries, n.terminal);
    how(l->source_tries, n.source);
}

void logins_count(struct inside_request *in, const char *user) {
    count(in, user, throttle_count);
}

void logins_take_back(struct inside_request *in, const char *user) {
    count(in, user, throttle_take_back);
}

void logins_clear_throttle(struct logins *l, const char *user) {
    char name[96];
    (void)snprintf(name, sizeof name, "account %s", user);
    throttle_clear(l->tries, name);
}
