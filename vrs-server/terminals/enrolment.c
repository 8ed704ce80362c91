#include "vrs-server/terminals/enrolment.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/pki.h"
#include "partitions/fields.h"

enum { CODE_CHARS = 20, ROW_CHARS = 7, DAY_MS = 86400000 };

static const char alphabet[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"; /* Crockford */

static const struct field members[] = {FIELD(1, FIELD_TEXT, struct enrolment, kind),
                                       FIELD(2, FIELD_TEXT, struct enrolment, name),
                                       FIELD(3, FIELD_TEXT, struct enrolment, site),
                                       FIELD(4, FIELD_TEXT, struct enrolment, municipality),
                                       FIELD(5, FIELD_TEXT, struct enrolment, rights),
                                       FIELD(6, FIELD_TEXT, struct enrolment, binding),
                                       FIELD(7, FIELD_TEXT, struct enrolment, made_by),
                                       FIELD(8, FIELD_I64, struct enrolment, made_ms),
                                       FIELD(9, FIELD_I64, struct enrolment, expires_ms),
                                       FIELD(10, FIELD_I64, struct enrolment, tries),
                                       FIELD(11, FIELD_BYTES, struct enrolment, secret),
                                       FIELD(12, FIELD_TEXT, struct enrolment, key_hash),
                                       FIELD(13, FIELD_I64, struct enrolment, used_ms),
                                       FIELD(14, FIELD_TEXT, struct enrolment, certificate),
                                       {0}};

/* --- codes --- */

static int value_of(char c) {
    const char *at = c != '\0' ? strchr(alphabet, c) : NULL;
    return at != NULL ? (int)(at - alphabet) : -1;
}

/* Odd weights: every single wrong character shows, and nearly every exchange of two neighbours. */
static char check_of(const char *code) {
    unsigned sum = 0;
    for (unsigned i = 0; i < CODE_CHARS - 1; i++)
        sum += (2 * i + 1) * (unsigned)value_of(code[i]);
    return alphabet[sum % 32];
}

bool enrolment_code_plain(const char *text, char out[21]) {
    size_t n = 0;
    for (; *text != '\0'; text++) {
        char c = *text >= 'a' && *text <= 'z' ? (char)(*text - 'a' + 'A') : *text;
        if (c == '-' || c == ' ')
            continue;
        c = c == 'O' ? '0' : c == 'I' || c == 'L' ? '1' : c;
        if (n == CODE_CHARS || value_of(c) < 0)
            return false;
        out[n++] = c;
    }
    out[n] = '\0';
    return n == CODE_CHARS && out[CODE_CHARS - 1] == check_of(out);
}

static void code_new(char plain[21]) {
    uint8_t random[CODE_CHARS - 1];
    crypto_random(random, sizeof random);
    for (size_t i = 0; i < sizeof random; i++)
        plain[i] = alphabet[random[i] % 32];
    plain[CODE_CHARS - 1] = check_of(plain);
    plain[CODE_CHARS] = '\0';
    secret_wipe(random, sizeof random);
}

/* --- rows --- */

static enum vrs_err put(struct partition *registry, struct enrolment *e, const char *index_kind,
                        const char *index, size_t len) {
    struct record r;
    record_init(&r);
    enum vrs_err err = e->version == 0 ? VRS_OK : record_get(registry, TABLE_ENROLMENT, &e->id, &r);
    r.id = e->id;
    r.state = e->state;
    buffer_clear(&r.text);
    fields_encode(members, e, &r.text);
    if (err == VRS_OK && e->version == 0)
        err = partition_blind(registry, index_kind, index, len, &r.index[0]);
    if (err == VRS_OK)
        err = e->version == 0 ? record_insert(registry, TABLE_ENROLMENT, &r)
                              : record_update(registry, TABLE_ENROLMENT, &r);
    e->version = r.version;
    e->generation = r.generation;
    record_fini(&r);
    return err;
}

struct found {
    struct enrolment *out;
    bool any;
};

static enum vrs_err take(struct record *r, void *arg) {
    struct found *f = arg;
    memset(f->out, 0, sizeof *f->out);
    f->any = true;
    f->out->id = r->id;
    f->out->version = r->version;
    f->out->generation = r->generation;
    f->out->state = (enum enrolment_state)r->state;
    return fields_decode(members, &r->text, f->out);
}

static enum vrs_err find(struct partition *registry, const char *index_kind, const char *index,
                         size_t len, struct enrolment *out) {
    struct store_index blind;
    struct found f = {.out = out};
    enum vrs_err e = partition_blind(registry, index_kind, index, len, &blind);
    if (e == VRS_OK)
        e = record_find(registry, TABLE_ENROLMENT, 0, &blind, take, &f);
    return e == VRS_OK && !f.any ? ERR_NOT_FOUND : e;
}

/* What nobody can use any more goes a month later, whenever a new code is made. */
struct old_rows {
    int64_t before_ms;
    size_t count;
    struct record_id id[100];
};

static enum vrs_err see_old(struct record *r, void *arg) {
    struct old_rows *old = arg;
    struct enrolment e = {0};
    enum vrs_err err = fields_decode(members, &r->text, &e);
    int64_t last_ms = e.expires_ms > e.used_ms ? e.expires_ms : e.used_ms;
    if (err == VRS_OK && last_ms < old->before_ms && old->count < sizeof old->id / sizeof *old->id)
        old->id[old->count++] = r->id;
    secret_wipe(&e, sizeof e);
    return err;
}

static enum vrs_err remove_old(struct partition *registry) {
    enum { LOOK_AT = 1000, KEEP_DAYS = 30 };
    struct old_rows old = {.before_ms = clock_now_ms() - (int64_t)KEEP_DAYS * DAY_MS};
    enum vrs_err e = record_walk(registry, TABLE_ENROLMENT, NULL, LOOK_AT, see_old, &old);
    for (size_t i = 0; i < old.count && e == VRS_OK; i++)
        e = record_remove(registry, TABLE_ENROLMENT, &old.id[i]);
    return e;
}

/* --- making a code --- */

/* Names go into certificates, receipts and logs: plain ones only. */
static bool good_name(const char *s) {
    size_t n = strlen(s);
    return n > 0 && n < 64 &&
           strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

static bool good_kind(const struct enrolment *e) {
    right_mask rights;
    const right_mask outside =
        (right_mask)1 << RIGHT_DOSE_POST | (right_mask)1 << RIGHT_DOSE_CANCEL |
        (right_mask)1 << RIGHT_RECEIPT_READ | (right_mask)1 << RIGHT_COUPON_CHECK;
    if (!right_mask_parse(e->rights, &rights) || (rights & ~outside) != 0)
        return false;
    if (strcmp(e->kind, TERMINAL_TABLET) == 0)
        return rights == 0; /* people log in on it */
    return (strcmp(e->kind, TERMINAL_READER) == 0 || strcmp(e->kind, TERMINAL_SYSTEM) == 0) &&
           rights != 0;
}

/* A receipt belongs to the terminal that posted it, by name: nobody takes over another's. */
static enum vrs_err name_free(struct partition *registry, const struct enrolment *e) {
    struct terminal t;
    enum vrs_err err = terminal_by_name(registry, e->name, &t);
    if (err == ERR_NOT_FOUND)
        return VRS_OK;
    if (err != VRS_OK)
        return err;
    return t.state == TERMINAL_ACTIVE || strcmp(t.municipality, e->municipality) != 0 ? ERR_CONFLICT
                                                                                      : VRS_OK;
}

enum vrs_err enrolment_make(struct partition *registry, struct enrolment *e, int64_t minutes,
                            char code[ENROLMENT_CODE_SIZE]) {
    char plain[CODE_CHARS + 1];
    if (!good_name(e->name) || !good_kind(e) || minutes < 1 || minutes > ENROLMENT_MAX_MINUTES)
        return ERR_BAD_FIELD;
    enum vrs_err err = name_free(registry, e);
    if (err == VRS_OK)
        err = remove_old(registry);
    if (err != VRS_OK)
        return err;
    code_new(plain);
    record_id_new(&e->id);
    e->version = 0;
    e->state = ENROLMENT_OPEN;
    e->made_ms = clock_now_ms();
    e->expires_ms = e->made_ms + minutes * 60000;
    crypto_sha256(plain, CODE_CHARS, e->secret);
    err = put(registry, e, "enrolment", plain, ROW_CHARS);
    (void)snprintf(code, ENROLMENT_CODE_SIZE, "%.5s-%.5s-%.5s-%.5s", plain, plain + 5, plain + 10,
                   plain + 15);
    secret_wipe(plain, sizeof plain);
    return err;
}

/* --- certificates --- */

/* A clock that is set back for a demonstration needs certificates from its own day on. */
static int64_t begins_ms(void) {
    int64_t now_ms = clock_now_ms(), real_ms = (int64_t)time(NULL) * 1000;
    return now_ms < real_ms - DAY_MS ? now_ms - DAY_MS : 0;
}

/* t->kind, name, municipality are given; the certificate is signed and the row inserted. */
static enum vrs_err issue(struct partition *registry, struct signer_client *signer,
                          const char *request_pem, struct terminal *t,
                          char certificate[ENROLMENT_CERT_MAX]) {
    const struct signer_cert what = {.kind = t->kind,
                                     .name = t->name,
                                     .municipality = t->municipality,
                                     .days = ENROLMENT_DAYS,
                                     .begins_ms = begins_ms(),
                                     .request_pem = request_pem};
    struct buffer pem;
    int64_t not_after_ms = 0;
    buffer_init(&pem, ENROLMENT_CERT_MAX - 1);
    enum vrs_err e = signer_cert(signer, &what, &pem, t->serial, &not_after_ms);
    if (e == VRS_OK && pem.failed)
        e = ERR_MEMORY;
    if (e == VRS_OK)
        e = pki_cert_fingerprint((const char *)pem.data, pem.len, t->fingerprint);
    if (e == VRS_OK) {
        memcpy(certificate, pem.data, pem.len);
        certificate[pem.len] = '\0';
        clock_format_date(clock_date_jst(not_after_ms), t->valid_until);
        record_id_new(&t->id);
        t->version = 0;
        t->generation = 0;
        t->state = TERMINAL_ACTIVE;
        t->made_ms = clock_now_ms();
        t->works_until_ms = 0;
        t->last_used_ms = 0;
        e = terminal_put(registry, t);
    }
    buffer_fini(&pem);
    return e;
}

static bool same_text(const char *a, const char *b) {
    size_t n = strlen(a);
    return n > 0 && n == strlen(b) && secret_equal(a, b, n);
}

static enum vrs_err give_again(struct partition *registry, const struct enrolment *e,
                               struct enrolment_result *out) {
    char print[65];
    out->repeated = true;
    memcpy(out->certificate, e->certificate, sizeof out->certificate);
    enum vrs_err err = pki_cert_fingerprint(e->certificate, strlen(e->certificate), print);
    /* The row it was registered as is found by walking: this is rare. */
    if (err == VRS_OK)
        err = terminal_by_name(registry, e->name, &out->terminal);
    if (err == VRS_OK && strcmp(out->terminal.fingerprint, print) != 0)
        out->refusal = ERR_ENROLMENT; /* revoked or replaced meanwhile */
    return err == ERR_NOT_FOUND ? VRS_OK : err;
}

static enum vrs_err use_open(struct partition *registry, struct signer_client *signer,
                             struct enrolment *e, const char *request_pem, const char *key_hash,
                             struct enrolment_result *out) {
    struct terminal *t = &out->terminal;
    enum vrs_err err = name_free(registry, e);
    if (err == ERR_CONFLICT) {
        out->refusal = ERR_ENROLMENT;
        return VRS_OK;
    }
    memcpy(t->rights, e->rights, sizeof t->rights);
    memcpy(t->binding, e->binding, sizeof t->binding);
    memcpy(t->site, e->site, sizeof t->site);
    memcpy(t->made_by, e->made_by, sizeof t->made_by);
    memcpy(t->key_hash, key_hash, sizeof t->key_hash);
    if (err == VRS_OK)
        err = issue(registry, signer, request_pem, t, out->certificate);
    if (err != VRS_OK)
        return err;
    e->state = ENROLMENT_USED;
    e->used_ms = clock_now_ms();
    memcpy(e->key_hash, key_hash, sizeof e->key_hash);
    memcpy(e->certificate, out->certificate, sizeof e->certificate);
    return put(registry, e, NULL, NULL, 0);
}

enum vrs_err enrolment_use(struct partition *registry, struct signer_client *signer,
                           const char *code, const char *request_pem,
                           struct enrolment_result *out) {
    char plain[CODE_CHARS + 1], key_hash[65];
    uint8_t secret[CRYPTO_HASH_BYTES];
    struct enrolment e;
    memset(out, 0, sizeof *out);
    out->refusal = ERR_ENROLMENT;
    if (!enrolment_code_plain(code, plain))
        return VRS_OK;
    crypto_sha256(plain, CODE_CHARS, secret);
    enum vrs_err err = find(registry, "enrolment", plain, ROW_CHARS, &e);
    secret_wipe(plain, sizeof plain);
    if (err != VRS_OK)
        return err == ERR_NOT_FOUND ? VRS_OK : err;
    int64_t now_ms = clock_now_ms();
    if (!secret_equal(secret, e.secret, sizeof secret)) {
        if (e.state == ENROLMENT_OPEN && ++e.tries >= ENROLMENT_TRIES)
            e.state = ENROLMENT_CLOSED;
        return put(registry, &e, NULL, NULL, 0);
    }
    out->known = true;
    memcpy(out->terminal.kind, e.kind, sizeof e.kind);
    memcpy(out->terminal.name, e.name, sizeof e.name);
    memcpy(out->terminal.municipality, e.municipality, sizeof e.municipality);
    if (pki_request_key(request_pem, strlen(request_pem), key_hash) != VRS_OK) {
        out->refusal = ERR_BAD_FIELD; /* the code stays good: the device made a mistake */
        return VRS_OK;
    }
    if (e.state == ENROLMENT_OPEN && now_ms <= e.expires_ms) {
        out->refusal = VRS_OK;
        err = use_open(registry, signer, &e, request_pem, key_hash, out);
    } else if (e.state == ENROLMENT_USED && now_ms - e.used_ms <= ENROLMENT_REPEAT_MS &&
               same_text(e.key_hash, key_hash)) {
        out->refusal = VRS_OK;
        err = give_again(registry, &e, out);
    }
    secret_wipe(&e, sizeof e);
    return err;
}

/* --- renewal --- */

static int64_t days_left(const struct terminal *t) {
    struct civil_date end;
    return clock_parse_date(t->valid_until, &end) == VRS_OK ? end.days - clock_today_jst().days
                                                            : -1;
}

enum vrs_err enrolment_renew(struct partition *registry, struct signer_client *signer,
                             const char *serial, const char *request_pem,
                             struct enrolment_result *out) {
    char key_hash[65], plain[48];
    struct terminal old;
    struct enrolment last;
    int64_t now_ms = clock_now_ms();
    memset(out, 0, sizeof *out);
    out->refusal = ERR_TERMINAL_REVOKED;
    terminal_plain_serial(serial, plain);
    enum vrs_err e = terminal_by_serial(registry, plain, &old);
    if (e != VRS_OK)
        return e == ERR_NOT_FOUND ? VRS_OK : e;
    out->known = true;
    out->terminal = old;
    if (old.state != TERMINAL_ACTIVE || terminal_is_inside(&old) || days_left(&old) < 0 ||
        (old.works_until_ms != 0 && now_ms > old.works_until_ms))
        return VRS_OK;
    out->refusal = ERR_BAD_FIELD;
    if (pki_request_key(request_pem, strlen(request_pem), key_hash) != VRS_OK)
        return VRS_OK;
    out->refusal = ERR_ENROLMENT;
    if (!same_text(old.key_hash, key_hash))
        return VRS_OK;
    e = find(registry, "renewal", plain, strlen(plain), &last);
    if (e != VRS_OK && e != ERR_NOT_FOUND)
        return e;
    bool before = e == VRS_OK;
    int64_t since_ms = now_ms - (before ? last.used_ms : old.made_ms);
    if (before && since_ms <= ENROLMENT_REPEAT_MS) {
        out->refusal = VRS_OK;
        return give_again(registry, &last, out);
    }
    if (since_ms < DAY_MS && (before || days_left(&old) > ENROLMENT_RENEW_DAYS)) {
        out->refusal = ERR_TOO_MANY;
        return VRS_OK;
    }
    out->refusal = VRS_OK;
    e = issue(registry, signer, request_pem, &out->terminal, out->certificate);
    if (e != VRS_OK)
        return e;
    int64_t grace_ms = now_ms + (int64_t)ENROLMENT_GRACE_DAYS * DAY_MS;
    if (old.works_until_ms == 0 || old.works_until_ms > grace_ms)
        old.works_until_ms = grace_ms;
    e = terminal_put(registry, &old);
    out->replaced = old;
    if (!before) {
        memset(&last, 0, sizeof last);
        record_id_new(&last.id);
        memcpy(last.name, old.name, sizeof last.name);
    }
    last.state = ENROLMENT_USED;
    last.used_ms = now_ms;
    memcpy(last.certificate, out->certificate, sizeof last.certificate);
    return e == VRS_OK ? put(registry, &last, "renewal", plain, strlen(plain)) : e;
}
