#include "vrs-server/terminals/filter_build.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bloom.h"
#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/json.h"
#include "lib/log.h"
#include "partitions/person.h"

enum { SLICE = 500, SHARDS_MAX = 100, TEXT_MAX = 512 };

struct shard {
    struct bloom set;
    bool is_signed; /* the municipality's worker only, from here on */
    char key_id[9];
    uint8_t signature[CRYPTO_SIGNATURE_BYTES];
};

struct coupon_filter {
    size_t holders;
    char municipality[7];
    size_t digits; /* that name a shard */
    size_t shards;
    struct shard shard[SHARDS_MAX];
    int64_t made_ms, ends_ms;
    uint64_t changes, coupons;
};

struct making {
    struct pool_job job; /* first */
    struct server *server;
    struct coupon_filter *filter;
    struct record_id after, next; /* next becomes after when the slice's job has ended well */
    bool begun, end;
    int64_t started_ms;
    filter_made_fn *done;
    void *arg;
};

void filter_hold(struct coupon_filter *f) {
    f->holders++;
}

void filter_release(struct coupon_filter **fp) {
    struct coupon_filter *f = *fp;
    *fp = NULL;
    if (f == NULL || --f->holders > 0)
        return;
    for (size_t i = 0; i < f->shards; i++)
        bloom_fini(&f->shard[i].set);
    free(f);
}

int64_t filter_made_ms(const struct coupon_filter *f) {
    return f->made_ms;
}

int64_t filter_ends_ms(const struct coupon_filter *f) {
    return f->ends_ms;
}

uint64_t filter_changes(const struct coupon_filter *f) {
    return f->changes;
}

size_t filter_bytes(const struct coupon_filter *f) {
    size_t n = sizeof *f;
    for (size_t i = 0; i < f->shards; i++)
        n += f->shard[i].set.bytes;
    return n;
}

/* --- making --- */

static enum vrs_err lay_out(struct coupon_filter *f) {
    uint8_t key[BLOOM_KEY_BYTES];
    enum vrs_err e = VRS_OK;
    f->shards = 1;
    for (f->digits = 0; f->digits < FILTER_DIGITS && f->coupons / f->shards > FILTER_SHARD_COUPONS;
         f->digits++)
        f->shards *= 10;
    size_t each = (f->coupons + f->shards - 1) / f->shards;
    if (each > (size_t)FILTER_SHARD_MAX_BYTES * 8 / BLOOM_BITS)
        return ERR_TOO_LARGE;
    crypto_random(key, sizeof key);
    for (size_t i = 0; i < f->shards && e == VRS_OK; i++)
        e = bloom_init(&f->shard[i].set, each, key);
    return e;
}

/* The last `n` digits as a number. */
static size_t last_digits(const char *number, size_t n) {
    size_t value = 0;
    for (const char *at = number + strlen(number) - n; *at != '\0'; at++)
        value = 10 * value + (size_t)(*at - '0');
    return value;
}

static enum vrs_err take(const struct person_coupon *c, void *arg) {
    struct making *m = arg;
    struct coupon_filter *f = m->filter;
    struct shard *s = &f->shard[last_digits(c->number.digits, f->digits)];
    bloom_add(&s->set, c->number.digits, strlen(c->number.digits));
    m->next = c->id;
    m->end = false;
    return VRS_OK;
}

/* It may run again from where it began: bits that are set stay set. */
static enum vrs_err slice_run(struct pool_job *job, struct partition *p) {
    struct making *m = (struct making *)job;
    struct coupon_filter *f = m->filter;
    enum vrs_err e = VRS_OK;
    if (f->shards == 0) {
        f->changes = coupon_changes(p);
        f->made_ms = clock_now_ms();
        f->ends_ms = f->made_ms + m->server->config.coupon_filter_life_s * 1000;
        e = coupon_count(p, &f->coupons);
        if (e == VRS_OK)
            e = lay_out(f);
    }
    m->end = true;
    return e == VRS_OK ? coupon_page(p, m->begun ? &m->after : NULL, SLICE, take, m) : e;
}

static void finish(struct making *m, enum vrs_err e) {
    struct coupon_filter *f = m->filter;
    if (e == VRS_OK)
        log_event(LOG_INFO, "coupon_filter.made", LF_STR("municipality", f->municipality),
                  LF_INT("coupons", f->coupons), LF_INT("bytes", filter_bytes(f)),
                  LF_INT("ms", clock_mono_ms() - m->started_ms));
    else
        filter_release(&f);
    m->done(f, e, m->arg);
    free(m);
}

static void slice_done(struct pool_job *job) {
    struct making *m = (struct making *)job;
    enum vrs_err e = job->err;
    if (e != VRS_OK && e != ERR_NOT_FOUND)
        log_fault(LOG_WARN, "coupon_filter.failed", &job->fault);
    if (e == VRS_OK && !m->end) {
        m->after = m->next;
        m->begun = true;
        e = pool_submit(m->server->pool, &m->job);
        if (e == VRS_OK)
            return;
    }
    finish(m, e);
}

enum vrs_err filter_make(struct server *s, const char *municipality, filter_made_fn *done,
                         void *arg) {
    struct making *m = calloc(1, sizeof *m);
    struct coupon_filter *f = calloc(1, sizeof *f);
    if (m == NULL || f == NULL) {
        free(m);
        free(f);
        return ERR_MEMORY;
    }
    f->holders = 1;
    (void)snprintf(f->municipality, sizeof f->municipality, "%s", municipality);
    m->server = s;
    m->filter = f;
    m->done = done;
    m->arg = arg;
    m->started_ms = clock_mono_ms();
    m->job.run = slice_run;
    m->job.done = slice_done;
    memcpy(m->job.municipality, f->municipality, sizeof m->job.municipality);
    enum vrs_err e = pool_submit(s->pool, &m->job);
    if (e != VRS_OK) {
        filter_release(&f);
        free(m);
    }
    return e;
}

/* --- a shard --- */

void filter_text(const char *municipality, const char *shard, const char *made_at,
                 const char *ends_at, const char *key_hex, size_t bytes, const char *sha256_hex,
                 struct buffer *out) {
    (void)buffer_printf(out, "vrs-coupon-filter/1\n%s\n%s\n%s\n%s\n%s\n%zu\n%s\n", municipality,
                        shard, made_at, ends_at, key_hex, bytes, sha256_hex);
}

/* What of a shard is text. */
struct words {
    char name[FILTER_DIGITS + 1], made_at[25], ends_at[25];
    char key[2 * BLOOM_KEY_BYTES + 1];
};

static enum vrs_err sign(const struct coupon_filter *f, struct shard *s, const struct words *w,
                         struct signer_client *signer) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    char hex[2 * CRYPTO_HASH_BYTES + 1];
    struct buffer text;
    crypto_sha256(s->set.bits, s->set.bytes, hash);
    crypto_hex(hash, sizeof hash, hex);
    buffer_init(&text, TEXT_MAX);
    filter_text(f->municipality, w->name, w->made_at, w->ends_at, w->key, s->set.bytes, hex, &text);
    enum vrs_err e = text.failed ? ERR_MEMORY
                                 : signer_statement(signer, "coupon-filter", text.data, text.len,
                                                    s->key_id, s->signature);
    buffer_fini(&text);
    s->is_signed = e == VRS_OK;
    return e;
}

enum vrs_err filter_shard(struct coupon_filter *f, const char *digits, struct signer_client *signer,
                          struct buffer *out) {
    struct shard *s = &f->shard[last_digits(digits, f->digits)];
    char signature[4 * ((CRYPTO_SIGNATURE_BYTES + 2) / 3) + 1];
    struct words w = {0};
    memcpy(w.name, digits + FILTER_DIGITS - f->digits, f->digits);
    clock_format_rfc3339(f->made_ms, w.made_at);
    clock_format_rfc3339(f->ends_ms, w.ends_at);
    crypto_hex(s->set.key, sizeof s->set.key, w.key);
    enum vrs_err e = s->is_signed ? VRS_OK : sign(f, s, &w, signer);
    if (e != VRS_OK)
        return e;
    char *bits = malloc(4 * ((s->set.bytes + 2) / 3) + 1);
    if (bits == NULL)
        return ERR_MEMORY;
    crypto_base64(s->set.bits, s->set.bytes, bits);
    crypto_base64(s->signature, sizeof s->signature, signature);
    json_t *doc =
        json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "municipality_code", f->municipality,
                  "shard", w.name, "made_at", w.made_at, "expires_at", w.ends_at, "key", w.key,
                  "bits", bits, "key_id", s->key_id, "signature", signature);
    e = doc != NULL && json_write(out, doc) ? VRS_OK : ERR_MEMORY;
    json_decref(doc);
    free(bits);
    return e;
}
