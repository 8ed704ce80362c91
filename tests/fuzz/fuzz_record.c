/* Stored rows as a broken or hostile file could answer them: sealed blobs that are not ours, and
 * texts that open but hold anything (an older or newer program wrote them).  A made-up engine
 * answers every read with one row.
 *
 * First byte: how the rest is used. 0: the blob as it stands, which must never open. Else the table
 * whose typed readers get it as a sealed text. */
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/crypto.h"
#include "lib/log.h"
#include "partitions/access_log.h"
#include "partitions/claim.h"
#include "partitions/exchange.h"
#include "partitions/partition.h"
#include "partitions/person.h"
#include "partitions/record.h"
#include "partitions/tally.h"

static const char town[] = "131032";
static struct keyring *ring;
static struct partition *part;
static struct store_row the_row;
static const struct record_id id = {{1, 2, 3}};

static enum vrs_err fake_open(const char *location, unsigned flags, struct store **out,
                              struct vrs_fault *fault) {
    (void)location;
    (void)flags;
    (void)fault;
    *out = (struct store *)&the_row;
    return VRS_OK;
}

static void fake_close(struct store **s) {
    *s = NULL;
}

static enum vrs_err fake_ok(struct store *s) {
    (void)s;
    return VRS_OK;
}

static void fake_rollback(struct store *s) {
    (void)s;
}

static enum vrs_err fake_get(struct store *s, enum store_table t, const uint8_t *row,
                             struct store_row *out) {
    (void)s;
    (void)t;
    (void)row;
    *out = the_row;
    return VRS_OK;
}

static enum vrs_err fake_find(struct store *s, enum store_table t, int n,
                              const struct store_index *value, store_row_fn *fn, void *arg) {
    (void)s;
    (void)t;
    (void)n;
    (void)value;
    return fn(&the_row, arg);
}

static enum vrs_err fake_scan(struct store *s, enum store_table t, uint32_t state, uint64_t after,
                              uint64_t limit, store_row_fn *fn, void *arg) {
    (void)s;
    (void)t;
    (void)state;
    (void)limit;
    return after >= the_row.order ? VRS_OK : fn(&the_row, arg);
}

static enum vrs_err fake_walk(struct store *s, enum store_table t, const uint8_t *after,
                              uint64_t limit, store_row_fn *fn, void *arg) {
    (void)s;
    (void)t;
    (void)limit;
    return after != NULL ? VRS_OK : fn(&the_row, arg);
}

static enum vrs_err fake_write(struct store *s, enum store_table t, const struct store_row *row) {
    (void)s;
    (void)t;
    (void)row;
    return VRS_OK;
}

static enum vrs_err fake_update(struct store *s, enum store_table t, const struct store_row *row,
                                uint64_t version, uint32_t generation) {
    (void)version;
    (void)generation;
    return fake_write(s, t, row);
}

static enum vrs_err fake_number(struct store *s, enum store_table t, uint64_t *out) {
    (void)s;
    (void)t;
    *out = 1;
    return VRS_OK;
}

static enum vrs_err fake_count(struct store *s, enum store_table t, uint32_t state, uint64_t *out) {
    (void)state;
    return fake_number(s, t, out);
}

static enum vrs_err fake_remove(struct store *s, enum store_table t, const uint8_t *row) {
    (void)s;
    (void)t;
    (void)row;
    return VRS_OK;
}

static enum vrs_err fake_meta_get(struct store *s, const char *name, char *out, size_t cap) {
    (void)s;
    (void)snprintf(out, cap, "%s", strcmp(name, "municipality") == 0 ? town : "epoch");
    return VRS_OK;
}

static enum vrs_err fake_meta_set(struct store *s, const char *name, const char *value) {
    (void)s;
    (void)name;
    (void)value;
    return VRS_OK;
}

static const struct store_engine fake = {
    .name = "fake",
    .open = fake_open,
    .close = fake_close,
    .begin = fake_ok,
    .commit = fake_ok,
    .rollback = fake_rollback,
    .get = fake_get,
    .find = fake_find,
    .scan = fake_scan,
    .walk = fake_walk,
    .insert = fake_write,
    .update = fake_update,
    .remove = fake_remove,
    .max_order = fake_number,
    .count = fake_count,
    .meta_get = fake_meta_get,
    .meta_set = fake_meta_set,
};

static void set_up(void) {
    char dir[] = "/tmp/fuzz-record-XXXXXX";
    char keys[64];
    struct vrs_fault fault;
    log_init("fuzz_record", LOG_ERROR);
    if (mkdtemp(dir) == NULL)
        abort();
    (void)snprintf(keys, sizeof keys, "%s/keys", dir);
    unsigned areas = 1U << KEY_RECORDS | 1U << KEY_LOG;
    if (kek_file_make(dir, KEY_RECORDS, &fault) != VRS_OK ||
        kek_file_make(dir, KEY_LOG, &fault) != VRS_OK ||
        keyring_open(keys, &kek_file, dir, areas, &ring, &fault) != VRS_OK ||
        keyring_ensure(ring, town, &fault) != VRS_OK ||
        partition_open(&fake, dir, town, ring, 0, &part, &fault) != VRS_OK)
        abort();
    char path[128];
    keyring_path(ring, town, path, sizeof path);
    (void)unlink(path);
    (void)rmdir(keys);
    (void)snprintf(path, sizeof path, "%s/kek-records", dir);
    (void)unlink(path);
    (void)snprintf(path, sizeof path, "%s/kek-log", dir);
    (void)unlink(path);
    (void)rmdir(dir);
}

/* Strings that a reader hands out must end within their arrays. */
#define ENDS(s)                                                                                    \
    do {                                                                                           \
        if (memchr((s), 0, sizeof(s)) == NULL)                                                     \
            abort();                                                                               \
    } while (0)

static enum vrs_err on_claim(struct claim *c, void *arg) {
    (void)arg;
    ENDS(c->lot);
    ENDS(c->reasons);
    ENDS(c->change_reason);
    ENDS(c->product);
    return VRS_OK;
}

static enum vrs_err on_person(struct person *q, void *arg) {
    (void)arg;
    ENDS(q->name);
    ENDS(q->kana);
    ENDS(q->address);
    ENDS(q->addressee);
    return VRS_OK;
}

static enum vrs_err on_coupon(const struct person_coupon *c, void *arg) {
    (void)c;
    (void)arg;
    return VRS_OK;
}

static enum vrs_err on_held(struct held_inquiry *h, void *arg) {
    (void)arg;
    ENDS(h->decision_reason);
    ENDS(h->asker);
    return VRS_OK;
}

static enum vrs_err on_provision(const struct provision *v, void *arg) {
    (void)arg;
    ENDS(v->basis_document);
    ENDS(v->result);
    return VRS_OK;
}

static enum vrs_err on_log(const struct log_read *e, void *arg) {
    (void)arg;
    return strlen(e->user) + strlen(e->act) + strlen(e->detail) > 1 << 20 ? ERR_CORRUPT : VRS_OK;
}

static enum vrs_err on_tally(const char *name, int64_t value, void *arg) {
    (void)value;
    (void)arg;
    return strlen(name) > 1 << 20 ? ERR_CORRUPT : VRS_OK;
}

static enum vrs_err on_link(const struct record_id *row, void *arg) {
    (void)row;
    (void)arg;
    return VRS_OK;
}

/* Any answer is fine but a crash; the sanitizers judge. */
static void settle(enum vrs_err e) {
    if ((unsigned)e >= VRS_ERR_COUNT)
        abort();
}

static void read_typed(enum store_table t) {
    uint8_t receipt[CLAIM_RECEIPT_BYTES] = {1};
    struct claim claim;
    struct person person;
    struct inquiry inquiry;
    struct held_inquiry held;
    struct person_coupon coupon;
    struct record_id found;
    struct log_head head;
    struct idempotent first = {0};
    uint64_t bad;
    int64_t value;
    bool seen;
    switch (t) {
    case TABLE_CLAIM:
        claim_init(&claim);
        settle(claim_get(part, &id, &claim));
        settle(claim_by_receipt(part, receipt, &claim));
        settle(claims_of_person(part, &id, on_claim, NULL));
        settle(claims_unsent(part, 10, on_claim, NULL));
        claim_wipe(&claim);
        break;
    case TABLE_CLAIM_HISTORY:
        settle(claim_history(part, &id, on_claim, NULL));
        break;
    case TABLE_PERSON:
        person_init(&person);
        settle(person_get(part, &id, &person));
        settle(person_by_addressee(part, "1", &person));
        settle(person_walk(part, on_person, NULL));
        settle(person_search(part, "ヤマ", (struct civil_date){1}, 10, on_person, NULL));
        person_wipe(&person);
        break;
    case TABLE_COUPON:
        settle(coupon_get(part, "1234567890", &coupon));
        settle(coupons_of(part, &id, on_coupon, NULL));
        break;
    case TABLE_NUMBER_LINK:
        settle(number_link_person(part, &id, &found));
        settle(number_links_of(part, &id, on_link, NULL));
        break;
    case TABLE_INQUIRY:
        inquiry_init(&inquiry);
        settle(inquiry_get(part, &id, &inquiry));
        inquiry_fini(&inquiry);
        break;
    case TABLE_HELD:
        settle(held_get(part, &id, &held));
        settle(held_list(part, 1, 10, on_held, NULL));
        break;
    case TABLE_PROVISION:
        settle(provisions_read(part, 0, 10, on_provision, NULL));
        break;
    case TABLE_LOG:
        settle(access_log_read(part, 0, 10, on_log, NULL));
        settle(access_log_verify(part, NULL, &head, &bad));
        break;
    case TABLE_LOG_SUBJECT:
        settle(access_log_of_person(part, &id, on_log, NULL));
        break;
    case TABLE_TALLY:
        settle(tally_get(part, "doses", &value));
        settle(tally_walk(part, "", on_tally, NULL));
        break;
    case TABLE_IDEMPOTENCY:
        buffer_init(&first.answer, 1 << 16);
        settle(idempotency_look(part, "key", "body", 4, &seen, &first));
        buffer_fini(&first.answer);
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (part == NULL)
        set_up();
    if (size < 4)
        return 0;
    enum store_table t = (enum store_table)(data[0] % STORE_TABLE_COUNT);
    const struct secret_key *key;
    the_row =
        (struct store_row){.version = data[1], .generation = 1, .state = data[2], .order = data[3]};
    memcpy(the_row.id, id.bytes, sizeof the_row.id);
    if (keyring_active(ring, town, record_area(t), KEY_ENCRYPT, &the_row.key_id, &key) != VRS_OK)
        return 0; /* an area of vrs-number */
    struct buffer aad;
    struct buffer blob;
    struct buffer text;
    buffer_init(&aad, 4096);
    buffer_init(&blob, size + RECORD_OVERHEAD + 16);
    buffer_init(&text, size + 16);
    if (data[0] == 0) {
        the_row.blob = data + 4;
        the_row.blob_len = size - 4;
        if (record_open(key, town, t, &the_row, &aad, &text) != ERR_TAMPERED)
            abort();
    } else {
        if (record_seal(key, town, t, &the_row, data + 4, size - 4, &aad, &blob) != VRS_OK)
            abort();
        the_row.blob = blob.data;
        the_row.blob_len = blob.len;
        if (record_open(key, town, t, &the_row, &aad, &text) != VRS_OK || text.len != size - 4 ||
            memcmp(text.data, data + 4, size - 4) != 0)
            abort();
        read_typed(t);
    }
    buffer_fini(&aad);
    buffer_fini(&blob);
    buffer_fini(&text);
    return 0;
}
