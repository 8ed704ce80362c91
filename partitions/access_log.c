#include "partitions/access_log.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/metric.h"
#include "lib/secret.h"
#include "lib/wire.h"
#include "partitions/fields.h"
#include "partitions/person.h"

enum { DETAIL_BYTES = 1024, FOUR_ITEMS_BYTES = 1200 };

static struct metric entries = {
    .name = "vrs_log_entries_total", .help = "Access log entries appended", .type = METRIC_COUNTER};

/* The entry as it is sealed. */
struct stored {
    int64_t at_ms;
    char user[64], section[64], terminal[64], source[16];
    char act[64], purpose[64], result[64], detail[DETAIL_BYTES];
    char addressee[24], four_items[FOUR_ITEMS_BYTES];
    int64_t count, subject_count;
};

static const struct field members[] = {
    FIELD(1, FIELD_I64, struct stored, at_ms),
    FIELD(2, FIELD_TEXT, struct stored, user),
    FIELD(3, FIELD_TEXT, struct stored, section),
    FIELD(4, FIELD_TEXT, struct stored, terminal),
    FIELD(5, FIELD_TEXT, struct stored, source),
    FIELD(6, FIELD_TEXT, struct stored, act),
    FIELD(7, FIELD_TEXT, struct stored, purpose),
    FIELD(8, FIELD_TEXT, struct stored, result),
    FIELD(9, FIELD_TEXT, struct stored, detail),
    FIELD(10, FIELD_TEXT, struct stored, addressee),
    FIELD(11, FIELD_TEXT, struct stored, four_items),
    FIELD(12, FIELD_I64, struct stored, count),
    FIELD(13, FIELD_I64, struct stored, subject_count),
    {0},
};
enum { TAG_SUBJECTS = 20 }; /* row ids, 16 bytes each */

static void log_row_id(uint64_t seq, struct record_id *out) {
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < 8; i++)
        out->bytes[15 - i] = (uint8_t)(seq >> (8 * i));
}

static enum vrs_err subject_index(struct partition *p, const struct record_id *subject,
                                  struct store_index *out) {
    return partition_blind(p, "log_subject", subject->bytes, sizeof subject->bytes, out);
}

/* chain[n] from row n as it is stored. */
static enum vrs_err chain_after(struct partition *p, uint64_t seq, uint8_t chain[CRYPTO_HASH_BYTES],
                                uint8_t leaf[CRYPTO_HASH_BYTES]) {
    struct record_id id;
    struct store_row row;
    struct crypto_digest *d;
    uint8_t before[CRYPTO_HASH_BYTES];
    memset(chain, 0, CRYPTO_HASH_BYTES);
    if (seq == 0)
        return VRS_OK;
    log_row_id(seq, &id);
    enum vrs_err e = partition_engine(p)->get(partition_store(p), TABLE_LOG, id.bytes, &row);
    if (e != VRS_OK)
        return e == ERR_NOT_FOUND ? ERR_TAMPERED : e;
    if (row.index[1].len != CRYPTO_HASH_BYTES)
        return ERR_TAMPERED;
    memcpy(before, row.index[1].bytes, sizeof before);
    if ((d = crypto_digest_open()) == NULL)
        return ERR_MEMORY;
    crypto_digest_add(d, "\0", 1);
    crypto_digest_add(d, row.blob, row.blob_len);
    crypto_digest_close(&d, leaf);
    uint8_t both[1 + 2 * CRYPTO_HASH_BYTES] = {1};
    memcpy(both + 1, before, sizeof before);
    memcpy(both + 1 + sizeof before, leaf, CRYPTO_HASH_BYTES);
    crypto_sha256(both, sizeof both, chain);
    return VRS_OK;
}

/* --- appending --- */

/* Nothing in an entry is empty (C60): what is not known is "-". */
static void item(char *out, size_t cap, const char *value) {
    (void)snprintf(out, cap, "%s", value != NULL && value[0] != '\0' ? value : "-");
}

static void describe_person(const struct person *person, struct stored *s) {
    static const char *const sexes[] = {[SEX_MALE] = "男", [SEX_FEMALE] = "女"};
    char birth[11] = "-";
    if (person == NULL) {
        item(s->addressee, sizeof s->addressee, NULL);
        item(s->four_items, sizeof s->four_items, NULL);
        return;
    }
    if (person_date_set(person->birth))
        clock_format_date(person->birth, birth);
    bool known = person->sex == SEX_MALE || person->sex == SEX_FEMALE;
    item(s->addressee, sizeof s->addressee, person->addressee);
    (void)snprintf(s->four_items, sizeof s->four_items, "%s|%s|%s|%s", person->name, birth,
                   known ? sexes[person->sex] : "不明", person->address);
}

static enum vrs_err add_subject_row(struct partition *p, const struct record_id *subject,
                                    uint64_t seq) {
    struct record r;
    record_init(&r);
    record_id_new(&r.id);
    r.order = seq;
    enum vrs_err e = subject_index(p, subject, &r.index[0]);
    if (e == VRS_OK)
        e = record_insert(p, TABLE_LOG_SUBJECT, &r);
    record_fini(&r);
    return e;
}

enum vrs_err access_log_append(struct partition *p, const struct log_entry *entry, uint64_t *seq) {
    struct stored s = {.at_ms = clock_now_ms(),
                       .count = (int64_t)entry->count,
                       .subject_count = (int64_t)entry->subject_count};
    struct record r;
    uint8_t leaf[CRYPTO_HASH_BYTES];
    item(s.user, sizeof s.user, entry->actor.user);
    item(s.section, sizeof s.section, entry->actor.section);
    item(s.terminal, sizeof s.terminal, entry->actor.terminal);
    item(s.source, sizeof s.source, entry->actor.source);
    item(s.act, sizeof s.act, entry->act);
    item(s.purpose, sizeof s.purpose, entry->purpose);
    item(s.result, sizeof s.result, entry->result);
    item(s.detail, sizeof s.detail, entry->detail);
    describe_person(entry->person, &s);
    record_init(&r);
    fields_encode(members, &s, &r.text);
    if (entry->subject_count > 0)
        wire_put(&r.text, TAG_SUBJECTS, entry->subjects,
                 entry->subject_count * sizeof *entry->subjects);
    enum vrs_err e = partition_next_order(p, TABLE_LOG, &r.order);
    if (e == VRS_OK)
        e = chain_after(p, r.order - 1, r.index[1].bytes, leaf);
    r.index[1].len = CRYPTO_HASH_BYTES;
    log_row_id(r.order, &r.id);
    if (e == VRS_OK && entry->subject_count == 1)
        e = subject_index(p, entry->subjects, &r.index[0]);
    if (e == VRS_OK)
        e = record_insert(p, TABLE_LOG, &r);
    for (size_t i = 0; e == VRS_OK && entry->subject_count > 1 && i < entry->subject_count; i++)
        e = add_subject_row(p, &entry->subjects[i], r.order);
    if (seq != NULL)
        *seq = r.order;
    if (e == VRS_OK)
        metric_add(&entries, 1);
    record_fini(&r);
    secret_wipe(&s, sizeof s);
    return e;
}

/* --- reading --- */

struct reading {
    struct partition *partition;
    log_read_fn *fn;
    void *arg;
};

static enum vrs_err read_entry(struct record *r, void *arg) {
    const struct reading *reading = arg;
    struct stored s = {0};
    uint8_t chain[CRYPTO_HASH_BYTES];
    struct log_read out = {.seq = r->order};
    enum vrs_err e = fields_decode(members, &r->text, &s);
    if (e == VRS_OK)
        e = chain_after(reading->partition, r->order, chain, out.leaf);
    if (e == VRS_OK) {
        out.at_ms = s.at_ms;
        out.user = s.user;
        out.section = s.section;
        out.terminal = s.terminal;
        out.source = s.source;
        out.act = s.act;
        out.purpose = s.purpose;
        out.result = s.result;
        out.detail = s.detail;
        out.addressee = s.addressee;
        out.four_items = s.four_items;
        out.count = (uint64_t)s.count;
        out.subject_count = (size_t)s.subject_count;
        e = reading->fn(&out, reading->arg);
    }
    secret_wipe(&s, sizeof s);
    return e;
}

enum vrs_err access_log_read(struct partition *p, uint64_t after, uint64_t limit, log_read_fn *fn,
                             void *arg) {
    struct reading reading = {.partition = p, .fn = fn, .arg = arg};
    return record_scan(p, TABLE_LOG, UINT32_MAX, after, limit, read_entry, &reading);
}

static enum vrs_err read_by_subject(struct record *r, void *arg) {
    const struct reading *reading = arg;
    struct record entry;
    struct record_id id;
    record_init(&entry);
    log_row_id(r->order, &id);
    enum vrs_err e = record_get(reading->partition, TABLE_LOG, &id, &entry);
    if (e == VRS_OK)
        e = read_entry(&entry, arg);
    record_fini(&entry);
    return e;
}

enum vrs_err access_log_of_person(struct partition *p, const struct record_id *person,
                                  log_read_fn *fn, void *arg) {
    struct reading reading = {.partition = p, .fn = fn, .arg = arg};
    struct store_index index;
    enum vrs_err e = subject_index(p, person, &index);
    if (e == VRS_OK)
        e = record_find(p, TABLE_LOG, 0, &index, read_entry, &reading);
    if (e == VRS_OK)
        e = record_find(p, TABLE_LOG_SUBJECT, 0, &index, read_by_subject, &reading);
    return e;
}

/* --- head, proof, epoch --- */

enum vrs_err access_log_head(struct partition *p, struct log_head *out) {
    uint8_t leaf[CRYPTO_HASH_BYTES];
    memset(out, 0, sizeof *out);
    enum vrs_err e = partition_engine(p)->meta_get(partition_store(p), "log_epoch", out->epoch,
                                                   sizeof out->epoch);
    if (e == ERR_NOT_FOUND) {
        (void)snprintf(out->epoch, sizeof out->epoch, "1");
        e = VRS_OK;
    }
    if (e == VRS_OK)
        e = partition_engine(p)->max_order(partition_store(p), TABLE_LOG, &out->size);
    return e == VRS_OK ? chain_after(p, out->size, out->chain, leaf) : e;
}

static enum vrs_err verify_one(struct partition *p, uint64_t seq, uint8_t chain[CRYPTO_HASH_BYTES],
                               struct record *r) {
    struct record_id id;
    struct stored s = {0};
    uint8_t leaf[CRYPTO_HASH_BYTES];
    log_row_id(seq, &id);
    enum vrs_err e = record_get(p, TABLE_LOG, &id, r); /* opens: key, place, columns are right */
    if (e == ERR_NOT_FOUND)
        return ERR_TAMPERED;
    if (e == VRS_OK && (r->order != seq || r->index[1].len != CRYPTO_HASH_BYTES ||
                        memcmp(r->index[1].bytes, chain, CRYPTO_HASH_BYTES) != 0))
        e = ERR_TAMPERED;
    if (e == VRS_OK)
        e = fields_decode(members, &r->text, &s);
    if (e == VRS_OK)
        e = chain_after(p, seq, chain, leaf);
    secret_wipe(&s, sizeof s);
    return e;
}

enum vrs_err access_log_verify(struct partition *p, const struct log_head *from,
                               struct log_head *head, uint64_t *bad_seq) {
    struct record r;
    uint8_t chain[CRYPTO_HASH_BYTES] = {0};
    uint64_t rows = 0;
    *bad_seq = 0;
    record_init(&r);
    enum vrs_err e = access_log_head(p, head);
    if (e == ERR_TAMPERED) /* the last row is not where it should be: the walk says which */
        e = VRS_OK;
    if (e == VRS_OK)
        e = partition_engine(p)->count(partition_store(p), TABLE_LOG, UINT32_MAX, &rows);
    for (uint64_t seq = 1; e == VRS_OK && seq <= head->size; seq++) {
        e = verify_one(p, seq, chain, &r);
        if (e == VRS_OK && from != NULL && from->size == seq &&
            memcmp(from->chain, chain, sizeof chain) != 0)
            e = ERR_TAMPERED;
        *bad_seq = e == VRS_OK ? 0 : seq;
    }
    if (e == VRS_OK && (rows != head->size || (from != NULL && from->size > head->size))) {
        *bad_seq = head->size + 1; /* cut off, or rows beside the sequence */
        e = ERR_TAMPERED;
    }
    record_fini(&r);
    return e;
}

enum vrs_err access_log_open_epoch(struct partition *p, const struct log_actor *who,
                                   const char *reason) {
    struct log_head head;
    char epoch[37], chain[2 * CRYPTO_HASH_BYTES + 1], detail[400];
    enum vrs_err e = access_log_head(p, &head);
    if (e != VRS_OK)
        return e;
    crypto_uuid4(epoch);
    crypto_hex(head.chain, sizeof head.chain, chain);
    (void)snprintf(detail, sizeof detail, "after %llu %s of epoch %s: %.100s",
                   (unsigned long long)head.size, chain, head.epoch, reason);
    const struct log_entry first = {.actor = *who,
                                    .act = "log.epoch",
                                    .purpose = "operation",
                                    .result = epoch,
                                    .detail = detail};
    e = partition_engine(p)->meta_set(partition_store(p), "log_epoch", epoch);
    return e == VRS_OK ? access_log_append(p, &first, NULL) : e;
}
