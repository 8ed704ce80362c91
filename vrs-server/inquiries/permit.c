#include "vrs-server/inquiries/permit.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "lib/crypto.h"
#include "lib/wire.h"

struct permit {
    uint8_t id[PERMIT_ID_BYTES];
    struct secret_key key;
    uint8_t terms[CRYPTO_HASH_BYTES]; /* HMAC under `key` */
    int64_t until_ms;
    struct permit *next; /* the newest first */
};

struct permits {
    pthread_mutex_t lock;
    struct permit *list;
    size_t count;
};

struct permits *permits_open(void) {
    struct permits *p = calloc(1, sizeof *p);
    if (p != NULL)
        (void)pthread_mutex_init(&p->lock, NULL);
    return p;
}

static void drop(struct permits *p, struct permit **at) {
    struct permit *gone = *at;
    *at = gone->next;
    p->count--;
    secret_wipe(gone, sizeof *gone);
    free(gone);
}

void permits_close(struct permits **p) {
    if (*p == NULL)
        return;
    while ((*p)->list != NULL)
        drop(*p, &(*p)->list);
    (void)pthread_mutex_destroy(&(*p)->lock);
    free(*p);
    *p = NULL;
}

/* Length-prefixed, so that no two different terms read the same. */
static enum vrs_err bind(const struct secret_key *key, const struct permit_terms *t,
                         uint8_t out[CRYPTO_HASH_BYTES]) {
    struct buffer b;
    buffer_init(&b, 8192);
    wire_put_str(&b, 1, t->asker);
    wire_put_str(&b, 2, t->provider);
    wire_put_str(&b, 3, t->business);
    wire_put_str(&b, 4, t->items);
    wire_put(&b, 5, t->request, t->len);
    enum vrs_err e = b.failed ? ERR_MEMORY : VRS_OK;
    crypto_hmac_sha256(key->bytes, sizeof key->bytes, b.data, b.len, out);
    if (b.len > 0)
        secret_wipe(b.data, b.len);
    buffer_fini(&b);
    return e;
}

enum vrs_err permit_issue(struct permits *p, const struct permit_terms *t, int64_t now_ms,
                          uint8_t id[PERMIT_ID_BYTES]) {
    struct permit *one = calloc(1, sizeof *one);
    if (one == NULL)
        return ERR_MEMORY;
    crypto_random(one->id, sizeof one->id);
    crypto_random(one->key.bytes, sizeof one->key.bytes);
    one->until_ms = now_ms + PERMIT_LIFE_MS;
    enum vrs_err e = bind(&one->key, t, one->terms);
    memcpy(id, one->id, sizeof one->id);
    (void)pthread_mutex_lock(&p->lock);
    for (struct permit **at = &p->list; *at != NULL;) {
        if ((*at)->until_ms <= now_ms)
            drop(p, at);
        else
            at = &(*at)->next;
    }
    if (e == VRS_OK && p->count >= PERMITS_MAX)
        e = ERR_BUSY;
    if (e == VRS_OK) {
        one->next = p->list;
        p->list = one;
        p->count++;
        one = NULL;
    }
    (void)pthread_mutex_unlock(&p->lock);
    if (one != NULL)
        secret_wipe(one, sizeof *one);
    free(one);
    return e;
}

enum vrs_err permit_use(struct permits *p, const uint8_t id[PERMIT_ID_BYTES],
                        const struct permit_terms *t, int64_t now_ms) {
    uint8_t terms[CRYPTO_HASH_BYTES];
    enum vrs_err e = ERR_PERMIT;
    (void)pthread_mutex_lock(&p->lock);
    struct permit **at = &p->list;
    while (*at != NULL && !secret_equal((*at)->id, id, PERMIT_ID_BYTES))
        at = &(*at)->next;
    if (*at != NULL) {
        if ((*at)->until_ms > now_ms && bind(&(*at)->key, t, terms) == VRS_OK &&
            secret_equal((*at)->terms, terms, sizeof terms))
            e = VRS_OK;
        drop(p, at);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return e;
}

size_t permits_out(struct permits *p) {
    (void)pthread_mutex_lock(&p->lock);
    size_t n = p->count;
    (void)pthread_mutex_unlock(&p->lock);
    return n;
}
