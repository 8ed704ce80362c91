#include "partitions/access_log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/metric.h"
#include "lib/secret.h"
#include "lib/text.h"
#include "lib/wire.h"
#include "partitions/fields.h"
#include "partitions/person.h"

enum { DETAIL_BYTES = 1024, FOUR_ITEMS_BYTES = 1200, PAGE = 500 };

static const char epoch_act[] = "log.epoch", epoch_purpose[] = "operation", first_epoch[] = "1";

static struct metric entries = {
    .name = "vrs_log_entries_total", .help = "Access log entries appended", .type = METRIC_COUNTER};

/* The entry as it is sealed. */
struct stored {
    int64_t at_ms;
    char user[64], section[64], terminal[64], source[16];
    char act[64], purpose[64], result[64], detail[DETAIL_BYTES];
    char addressee[40], four_items[FOUR_ITEMS_BYTES];
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
    return partition_blind_log(p, "log_subject", subject->bytes, sizeof subject->bytes, out);
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

/* Nothing in an entry is empty (C60): what is not known is "-".  What is too long ends in "…" after
 * a whole character, and is UTF-8 in any case: an entry that cannot be shown would hide its page.
 */
static void item(char *out, size_t cap, const char *value) {
    static const char cut[] = "…";
    bool known = value != NULL && value[0] != '\0';
    size_t n = (size_t)snprintf(out, cap, "%s", known ? value : "-");
    bool fits = n < cap;
    if (!fits) {
        n = cap - sizeof cut;
        while (n > 0 && ((unsigned char)out[n] & 0xc0) == 0x80)
            n--;
        out[n] = '\0';
    }
    if (!text_valid_utf8(out, n)) {
        for (size_t i = 0; i < n; i++)
            out[i] = (unsigned char)out[i] < 0x80 ? out[i] : '?';
    }
    if (!fits)
        memcpy(out + n, cut, sizeof cut);
}

static void describe_person(const struct person *person, struct stored *s) {
    char birth[11] = "-";
    if (person == NULL) {
        item(s->addressee, sizeof s->addressee, NULL);
        item(s->four_items, sizeof s->four_items, NULL);
        return;
    }
    if (person_date_set(person->birth))
        clock_format_date(person->birth, birth);
    char row[33];
    record_id_format(&person->id, row); /* stands where there is no 宛名番号 */
    item(s->addressee, sizeof s->addressee, person->addressee[0] != '\0' ? person->addressee : row);
    (void)snprintf(s->four_items, sizeof s->four_items, "%s|%s|%s|%s",
                   person->name[0] != '\0' ? person->name : "-", birth,
                   person->sex == SEX_MALE     ? "男"
                   : person->sex == SEX_FEMALE ? "女"
                                               : "不明",
                   person->address[0] != '\0' ? person->address : "-");
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
    const struct record_id *subjects = entry->subjects;
    size_t subject_count = entry->subject_count;
    if (subject_count == 0 && entry->person != NULL) {
        subjects = &entry->person->id;
        subject_count = 1;
    }
    struct stored s = {.at_ms = clock_now_ms(),
                       .count = (int64_t)entry->count,
                       .subject_count = (int64_t)subject_count};
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
    if (subject_count > 0)
        wire_put(&r.text, TAG_SUBJECTS, subjects, subject_count * sizeof *subjects);
    enum vrs_err e = partition_next_order(p, TABLE_LOG, &r.order);
    if (e == VRS_OK)
        e = chain_after(p, r.order - 1, r.index[1].bytes, leaf);
    r.index[1].len = CRYPTO_HASH_BYTES;
    log_row_id(r.order, &r.id);
    if (e == VRS_OK && subject_count == 1)
        e = subject_index(p, subjects, &r.index[0]);
    if (e == VRS_OK)
        e = record_insert(p, TABLE_LOG, &r);
    for (size_t i = 0; e == VRS_OK && subject_count > 1 && i < subject_count; i++)
        e = add_subject_row(p, &subjects[i], r.order);
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

struct sequences {
    uint64_t *list;
    size_t count, cap;
};

static enum vrs_err note_sequence(struct record *r, void *arg) {
    struct sequences *s = arg;
    if (s->count == s->cap) {
        size_t cap = s->cap == 0 ? 64 : 2 * s->cap;
        uint64_t *grown = reallocarray(s->list, cap, sizeof *grown);
        if (grown == NULL)
            return ERR_MEMORY;
        s->list = grown;
        s->cap = cap;
    }
    s->list[s->count++] = r->order;
    return VRS_OK;
}

static int by_sequence(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

enum vrs_err access_log_of_person(struct partition *p, const struct record_id *person,
                                  log_read_fn *fn, void *arg) {
    struct reading reading = {.partition = p, .fn = fn, .arg = arg};
    struct sequences found = {0};
    struct store_index index;
    struct record entry;
    struct record_id id;
    record_init(&entry);
    enum vrs_err e = subject_index(p, person, &index);
    if (e == VRS_OK)
        e = record_find(p, TABLE_LOG, 0, &index, note_sequence, &found);
    if (e == VRS_OK)
        e = record_find(p, TABLE_LOG_SUBJECT, 0, &index, note_sequence, &found);
    if (found.count > 1)
        qsort(found.list, found.count, sizeof *found.list, by_sequence);
    for (size_t i = 0; e == VRS_OK && i < found.count; i++) {
        if (i > 0 && found.list[i] == found.list[i - 1])
            continue;
        log_row_id(found.list[i], &id);
        e = record_get(p, TABLE_LOG, &id, &entry);
        e = e == VRS_OK ? read_entry(&entry, &reading) : e == ERR_NOT_FOUND ? ERR_TAMPERED : e;
    }
    record_fini(&entry);
    free(found.list);
    return e;
}

/* --- head, proof, epoch --- */

static enum vrs_err epoch_and_size(struct partition *p, struct log_head *out) {
    const struct store_engine *engine = partition_engine(p);
    memset(out, 0, sizeof *out);
    enum vrs_err e =
        engine->meta_get(partition_store(p), "log_epoch", out->epoch, sizeof out->epoch);
    if (e == ERR_NOT_FOUND) {
        memcpy(out->epoch, first_epoch, sizeof first_epoch);
        e = VRS_OK;
    }
    return e == VRS_OK ? engine->max_order(partition_store(p), TABLE_LOG, &out->size) : e;
}

enum vrs_err access_log_head(struct partition *p, struct log_head *out) {
    uint8_t leaf[CRYPTO_HASH_BYTES];
    enum vrs_err e = epoch_and_size(p, out);
    return e == VRS_OK ? chain_after(p, out->size, out->chain, leaf) : e;
}

struct proof {
    struct partition *partition;
    struct record row;
    uint8_t chain[CRYPTO_HASH_BYTES]; /* after the rows seen */
    char epoch[40];                   /* as the entries say it */
    uint64_t subject_rows;            /* that there must be */
    struct record_id last;
    uint64_t seen, beyond, size;
};

/* The seal proves the place and the columns of a row; what it names is checked here. */
static enum vrs_err prove_entry(struct proof *v, uint64_t seq) {
    struct record_id id;
    struct stored s = {0};
    uint8_t leaf[CRYPTO_HASH_BYTES];
    const struct record *r = &v->row;
    log_row_id(seq, &id);
    enum vrs_err e = record_get(v->partition, TABLE_LOG, &id, &v->row);
    if (e == VRS_OK && (r->order != seq || r->index[1].len != CRYPTO_HASH_BYTES ||
                        memcmp(r->index[1].bytes, v->chain, CRYPTO_HASH_BYTES) != 0))
        e = ERR_TAMPERED;
    if (e == VRS_OK)
        e = fields_decode(members, &r->text, &s);
    if (e == VRS_OK)
        e = chain_after(v->partition, seq, v->chain, leaf);
    if (e == VRS_OK && s.subject_count > 1)
        v->subject_rows += (uint64_t)s.subject_count;
    if (e == VRS_OK && strcmp(s.act, epoch_act) == 0 && strcmp(s.purpose, epoch_purpose) == 0)
        (void)snprintf(v->epoch, sizeof v->epoch, "%.39s", s.result);
    secret_wipe(&s, sizeof s);
    /* A row that is gone, whose key does not exist or that says nothing is a broken log, too. */
    return e == ERR_NOT_FOUND || e == ERR_CRYPTO || e == ERR_CORRUPT ? ERR_TAMPERED : e;
}

static enum vrs_err count_subject(struct record *r, void *arg) {
    struct proof *v = arg;
    v->last = r->id;
    v->seen++;
    v->beyond += r->order == 0 || r->order > v->size;
    return VRS_OK;
}

/* Every one opens, and there are as many as the entries say: an entry hides from nobody. */
static enum vrs_err prove_subjects(struct proof *v) {
    enum vrs_err e = VRS_OK;
    uint64_t before = 0;
    for (bool first = true; e == VRS_OK && (first || v->seen == before + PAGE); first = false) {
        struct record_id after = v->last;
        before = v->seen;
        e = record_walk(v->partition, TABLE_LOG_SUBJECT, first ? NULL : &after, PAGE, count_subject,
                        v);
    }
    if (e == ERR_CRYPTO || (e == VRS_OK && (v->seen != v->subject_rows || v->beyond > 0)))
        e = ERR_TAMPERED;
    return e;
}

enum vrs_err access_log_verify(struct partition *p, const struct log_head *from,
                               struct log_head *head, uint64_t *bad_seq) {
    struct proof v = {.partition = p};
    uint64_t rows = 0;
    *bad_seq = 0;
    memcpy(v.epoch, first_epoch, sizeof first_epoch);
    record_init(&v.row);
    enum vrs_err e = epoch_and_size(p, head);
    if (e == VRS_OK)
        e = partition_engine(p)->count(partition_store(p), TABLE_LOG, UINT32_MAX, &rows);
    v.size = head->size;
    for (uint64_t seq = 1; e == VRS_OK && seq <= head->size; seq++) {
        e = prove_entry(&v, seq);
        if (e == VRS_OK && from != NULL && from->size == seq &&
            memcmp(from->chain, v.chain, sizeof v.chain) != 0)
            e = ERR_TAMPERED;
        *bad_seq = e == VRS_OK ? 0 : seq;
    }
    memcpy(head->chain, v.chain, sizeof head->chain);
    if (e == VRS_OK && (rows != head->size || (from != NULL && from->size > head->size) ||
                        strcmp(v.epoch, head->epoch) != 0))
        e = ERR_TAMPERED; /* cut off, rows beside the sequence, or another epoch */
    if (e == VRS_OK)
        e = prove_subjects(&v);
    if (e == ERR_TAMPERED && *bad_seq == 0)
        *bad_seq = head->size + 1;
    record_fini(&v.row);
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
                                    .act = epoch_act,
                                    .purpose = epoch_purpose,
                                    .result = epoch,
                                    .detail = detail};
    e = partition_engine(p)->meta_set(partition_store(p), "log_epoch", epoch);
    return e == VRS_OK ? access_log_append(p, &first, NULL) : e;
}
