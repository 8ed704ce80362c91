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
#include "partitions/log_tree.h"
#include "partitions/person.h"

enum { DETAIL_BYTES = 1024, FOUR_ITEMS_BYTES = 1200 };

static struct metric entries = {
    .name = "vrs_log_entries_total", .help = "Access log entries appended", .type = METRIC_COUNTER};

/* The entry as it is sealed. */
struct stored {
    int64_t at_ms;
    char user[64], section[64], terminal[64], source[16];
    char act[64], purpose[64], result[64], detail[DETAIL_BYTES];
    char addressee[40], four_items[FOUR_ITEMS_BYTES];
    char clear[LOG_TEXT_BYTES];
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
    FIELD(14, FIELD_TEXT, struct stored, clear),
    {0},
};
enum { TAG_SUBJECTS = 20 }; /* row ids, 16 bytes each */

static enum vrs_err subject_index(struct partition *p, const struct record_id *subject,
                                  struct store_index *out) {
    return partition_blind_log(p, "log_subject", subject->bytes, sizeof subject->bytes, out);
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

static void commit_to(const struct log_entry *entry, struct store_index *out) {
    if (entry->clear != NULL)
        crypto_sha256(entry->clear, strlen(entry->clear), out->bytes);
    else if (entry->commitment != NULL)
        memcpy(out->bytes, entry->commitment->bytes, CRYPTO_HASH_BYTES);
    else
        return;
    out->len = CRYPTO_HASH_BYTES;
}

static enum vrs_err insert_entry(struct partition *p, struct record *r,
                                 struct merkle_hash *entry_hash) {
    struct merkle_hash leaf;
    enum vrs_err e = record_insert_hash(p, TABLE_LOG, r, entry_hash->bytes);
    if (e == VRS_OK)
        e = log_leaf(&r->index[1], entry_hash, &leaf);
    return e == VRS_OK ? log_tree_append(p, r->order, &leaf) : e;
}

enum vrs_err access_log_append_at(struct partition *p, const struct log_entry *entry,
                                  struct log_place *out) {
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
    const struct log_tree_state *tree;
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
    commit_to(entry, &r.index[1]);
    if (entry->clear != NULL)
        (void)snprintf(s.clear, sizeof s.clear, "%s", entry->clear);
    fields_encode(members, &s, &r.text);
    if (subject_count > 0)
        wire_put(&r.text, TAG_SUBJECTS, subjects, subject_count * sizeof *subjects);
    enum vrs_err e = log_tree_state(p, &tree); /* is there before the row is */
    if (e == VRS_OK)
        e = partition_next_order(p, TABLE_LOG, &r.order);
    log_row_id(r.order, &r.id);
    if (e == VRS_OK && subject_count == 1)
        e = subject_index(p, subjects, &r.index[0]);
    if (e == VRS_OK)
        e = insert_entry(p, &r, &out->entry_hash);
    for (size_t i = 0; e == VRS_OK && subject_count > 1 && i < subject_count; i++)
        e = add_subject_row(p, &subjects[i], r.order);
    out->entry = r.order;
    if (e == VRS_OK)
        metric_add(&entries, 1);
    record_fini(&r);
    secret_wipe(&s, sizeof s);
    return e;
}

enum vrs_err access_log_append(struct partition *p, const struct log_entry *entry, uint64_t *seq) {
    struct log_place place;
    enum vrs_err e = access_log_append_at(p, entry, &place);
    if (seq != NULL)
        *seq = place.entry;
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
    struct partition *p = reading->partition;
    struct stored s = {0};
    struct store_row row;
    struct log_read out = {.seq = r->order};
    enum vrs_err e = fields_decode(members, &r->text, &s);
    if (e == VRS_OK)
        e = partition_engine(p)->get(partition_store(p), TABLE_LOG, r->id.bytes, &row);
    if (e == VRS_OK) {
        memcpy(out.commitment.bytes, row.index[1].bytes,
               row.index[1].len <= CRYPTO_HASH_BYTES ? row.index[1].len : 0);
        e = log_row_leaf(&row, &out.entry_hash, &out.leaf);
    }
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
        out.clear = s.clear;
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

enum vrs_err access_log_one(struct partition *p, uint64_t seq, log_read_fn *fn, void *arg) {
    struct reading reading = {.partition = p, .fn = fn, .arg = arg};
    struct record_id id;
    struct record r;
    log_row_id(seq, &id);
    record_init(&r);
    enum vrs_err e = record_get(p, TABLE_LOG, &id, &r);
    if (e == VRS_OK && r.order != seq)
        e = ERR_TAMPERED;
    if (e == VRS_OK)
        e = read_entry(&r, &reading);
    record_fini(&r);
    return e;
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
    struct sequences found = {0};
    struct store_index index;
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
        e = access_log_one(p, found.list[i], fn, arg);
        if (e == ERR_NOT_FOUND)
            e = ERR_TAMPERED;
    }
    free(found.list);
    return e;
}

/* --- the tree --- */

static void head_of(const struct log_tree_state *tree, struct log_head *out) {
    memcpy(out->epoch, tree->epoch, sizeof out->epoch);
    out->size = tree->size;
    out->root = tree->root;
}

enum vrs_err access_log_head(struct partition *p, struct log_head *out) {
    const struct log_tree_state *tree;
    enum vrs_err e = log_tree_state(p, &tree);
    memset(out, 0, sizeof *out);
    if (e == VRS_OK)
        head_of(tree, out);
    return e;
}

enum vrs_err access_log_head_now(struct partition *p, struct log_head *out) {
    struct log_tree_state tree;
    enum vrs_err e = log_tree_now(p, &tree);
    memset(out, 0, sizeof *out);
    if (e == VRS_OK)
        head_of(&tree, out);
    return e;
}

/* The size of a past tree is one that there was. */
static enum vrs_err check_size(struct partition *p, uint64_t size) {
    const struct log_tree_state *tree;
    enum vrs_err e = log_tree_state(p, &tree);
    return e == VRS_OK && size > tree->size ? ERR_BAD_FIELD : e;
}

enum vrs_err access_log_path(struct partition *p, uint64_t entry, uint64_t size,
                             struct merkle_hash *out, size_t *count) {
    *count = 0;
    enum vrs_err e = check_size(p, size);
    if (e == VRS_OK && (entry == 0 || entry > size))
        e = ERR_BAD_FIELD;
    return e == VRS_OK ? merkle_path(entry - 1, size, log_tree_read, p, out, count) : e;
}

enum vrs_err access_log_consistency(struct partition *p, uint64_t from, uint64_t to,
                                    struct merkle_hash *out, size_t *count) {
    *count = 0;
    enum vrs_err e = check_size(p, to);
    return e == VRS_OK ? merkle_consistency(from, to, log_tree_read, p, out, count) : e;
}

enum vrs_err access_log_range_at(struct partition *p, uint64_t size, struct merkle_range *out) {
    enum vrs_err e = check_size(p, size);
    merkle_range_init(out);
    for (unsigned level = LOG_TILE_BITS * LOG_TILE_LEVELS; e == VRS_OK && level-- > 0;) {
        struct merkle_hash hash;
        if ((size >> level & 1) == 0)
            continue;
        e = log_tree_read(level, out->size >> level, &hash, p);
        if (e == VRS_OK)
            (void)merkle_range_add_subtree(out, level, &hash);
    }
    return e;
}

enum vrs_err access_log_root_at(struct partition *p, uint64_t size, struct merkle_hash *out) {
    struct merkle_range r;
    enum vrs_err e = access_log_range_at(p, size, &r);
    if (e == VRS_OK)
        merkle_range_root(&r, out);
    return e;
}

enum vrs_err access_log_open_epoch(struct partition *p, const struct log_actor *who,
                                   const char *reason, const struct log_head *known) {
    struct log_head head;
    struct log_epoch_text t = {.restored = 0};
    char root[2 * CRYPTO_HASH_BYTES + 1], epoch[37], detail[400], clear[LOG_TEXT_BYTES];
    enum vrs_err e = access_log_head(p, &head);
    if (e != VRS_OK)
        return e;
    t.restored = head.size;
    if (known == NULL || known->size <= head.size)
        known = &head;
    crypto_uuid4(epoch);
    memcpy(t.municipality, partition_code(p), sizeof t.municipality);
    memcpy(t.epoch, epoch, sizeof epoch);
    memcpy(t.previous, known->epoch, sizeof t.previous);
    t.known = known->size;
    t.known_root = known->root;
    log_epoch_text(&t, clear);
    crypto_hex(known->root.bytes, sizeof known->root.bytes, root);
    (void)snprintf(detail, sizeof detail, "after %llu %s of epoch %s, restored %llu: %.100s",
                   (unsigned long long)known->size, root, known->epoch,
                   (unsigned long long)head.size, reason);
    const struct log_entry first = {.actor = *who,
                                    .act = "log.epoch",
                                    .purpose = "operation",
                                    .result = epoch,
                                    .detail = detail,
                                    .clear = clear};
    e = partition_engine(p)->meta_set(partition_store(p), "log_epoch", epoch);
    log_tree_epoch_set(p);
    return e == VRS_OK ? access_log_append(p, &first, NULL) : e;
}
