#include "tablet-api/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/secret.h"

enum { TOKEN_BYTES = 32 };

struct entry {
    struct entry *next;
    uint8_t token_hash[CRYPTO_HASH_BYTES];
    struct session session;
};

struct session_table {
    size_t max;
    size_t count;
    int64_t idle_ms;
    int64_t age_ms;
    session_timed_out_fn *timed_out;
    void *arg;
    size_t buckets; /* a power of two */
    struct entry *bucket[];
};

enum vrs_err session_table_open(size_t max, int64_t idle_ms, int64_t age_ms,
                                struct session_table **out) {
    size_t buckets = 64;
    while (buckets < max)
        buckets *= 2;
    struct session_table *t = calloc(1, sizeof *t + buckets * sizeof t->bucket[0]);
    *out = t;
    if (t == NULL)
        return ERR_MEMORY;
    t->max = max;
    t->idle_ms = idle_ms;
    t->age_ms = age_ms;
    t->buckets = buckets;
    return VRS_OK;
}

void session_table_close(struct session_table **t) {
    if (*t == NULL)
        return;
    (*t)->timed_out = NULL; /* the end of the program is nobody's time-out */
    session_sweep(*t, INT64_MAX);
    free(*t);
    *t = NULL;
}

static struct entry **place(struct session_table *t, const uint8_t hash[CRYPTO_HASH_BYTES]) {
    uint64_t at = 0;
    memcpy(&at, hash, sizeof at);
    struct entry **p = &t->bucket[at & (t->buckets - 1)];
    while (*p != NULL && !secret_equal((*p)->token_hash, hash, CRYPTO_HASH_BYTES))
        p = &(*p)->next;
    return p;
}

static bool ended(const struct session_table *t, const struct session *s, int64_t now_mono) {
    return now_mono - s->used_ms >= t->idle_ms || now_mono - s->opened_ms >= t->age_ms;
}

static void remove_at(struct session_table *t, struct entry **p) {
    struct entry *e = *p;
    *p = e->next;
    secret_wipe(e, sizeof *e);
    free(e);
    t->count--;
}

static void time_out(struct session_table *t, struct entry **p) {
    if (t->timed_out != NULL)
        t->timed_out(&(*p)->session, t->arg);
    remove_at(t, p);
}

void session_table_watch(struct session_table *t, session_timed_out_fn *fn, void *arg) {
    t->timed_out = fn;
    t->arg = arg;
}

/* False when the text is not a token at all. */
static bool hash_of(const char *token, uint8_t hash[CRYPTO_HASH_BYTES]) {
    uint8_t bytes[TOKEN_BYTES];
    if (!crypto_unhex(token, bytes, sizeof bytes))
        return false;
    crypto_sha256(bytes, sizeof bytes, hash);
    secret_wipe(bytes, sizeof bytes);
    return true;
}

enum vrs_err session_new(struct session_table *t, const char *user_id,
                         const uint8_t certificate[CRYPTO_HASH_BYTES], int64_t now_mono,
                         char token[SESSION_TOKEN_SIZE]) {
    uint8_t bytes[TOKEN_BYTES];
    if (t->count >= t->max)
        session_sweep(t, now_mono);
    if (t->count >= t->max)
        return ERR_BUSY;
    struct entry *e = calloc(1, sizeof *e);
    if (e == NULL)
        return ERR_MEMORY;
    crypto_random(bytes, sizeof bytes);
    crypto_hex(bytes, sizeof bytes, token);
    crypto_sha256(bytes, sizeof bytes, e->token_hash);
    secret_wipe(bytes, sizeof bytes);
    (void)snprintf(e->session.user_id, sizeof e->session.user_id, "%s", user_id);
    memcpy(e->session.certificate, certificate, sizeof e->session.certificate);
    e->session.opened_ms = now_mono;
    e->session.used_ms = now_mono;
    struct entry **p = place(t, e->token_hash);
    *p = e; /* a random token is never there already: the end of its chain */
    t->count++;
    return VRS_OK;
}

void session_place(struct session_table *t, const char *token, const char *terminal,
                   const char *municipality, const char *password_hash) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    struct entry **p = hash_of(token, hash) ? place(t, hash) : NULL;
    if (p == NULL || *p == NULL)
        return;
    struct session *s = &(*p)->session;
    (void)snprintf(s->terminal, sizeof s->terminal, "%s", terminal);
    (void)snprintf(s->municipality, sizeof s->municipality, "%s", municipality);
    crypto_sha256(password_hash, strlen(password_hash), s->password);
}

bool session_password_is(const struct session *s, const char *password_hash) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    crypto_sha256(password_hash, strlen(password_hash), hash);
    return memcmp(hash, s->password, sizeof hash) == 0;
}

const struct session *session_use(struct session_table *t, const char *token, int64_t now_mono) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    if (!hash_of(token, hash))
        return NULL;
    struct entry **p = place(t, hash);
    if (*p == NULL)
        return NULL;
    if (ended(t, &(*p)->session, now_mono)) {
        time_out(t, p);
        return NULL;
    }
    (*p)->session.used_ms = now_mono;
    return &(*p)->session;
}

bool session_end(struct session_table *t, const char *token) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    if (!hash_of(token, hash))
        return false;
    struct entry **p = place(t, hash);
    if (*p == NULL)
        return false;
    remove_at(t, p);
    return true;
}

bool session_elsewhere(struct session_table *t, const char *user_id,
                       const uint8_t certificate[CRYPTO_HASH_BYTES], int64_t now_mono) {
    for (size_t i = 0; i < t->buckets; i++) {
        for (const struct entry *e = t->bucket[i]; e != NULL; e = e->next) {
            if (strcmp(e->session.user_id, user_id) == 0 && !ended(t, &e->session, now_mono) &&
                memcmp(e->session.certificate, certificate, CRYPTO_HASH_BYTES) != 0)
                return true;
        }
    }
    return false;
}

size_t session_count(const struct session_table *t) {
    return t->count;
}

void session_sweep(struct session_table *t, int64_t now_mono) {
    for (size_t i = 0; i < t->buckets; i++) {
        for (struct entry **p = &t->bucket[i]; *p != NULL;) {
            if (ended(t, &(*p)->session, now_mono))
                time_out(t, p);
            else
                p = &(*p)->next;
        }
    }
}
