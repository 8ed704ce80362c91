#include "vrs-server/log/log_lines.h"

#include <string.h>

#include "lib/clock.h"
#include "lib/json.h"

struct lines {
    const struct log_lines *what;
    struct buffer *out;
    uint64_t count;
    uint64_t size; /* of the tree that the head is over */
};

static enum vrs_err put(struct buffer *out, json_t *line) {
    bool good = line != NULL && json_write(out, line) && buffer_puts(out, "\n");
    json_decref(line);
    return good ? VRS_OK : out->failed ? ERR_TOO_LARGE : ERR_MEMORY;
}

static json_t *hex_of(const struct merkle_hash *h) {
    char hex[2 * CRYPTO_HASH_BYTES + 1];
    crypto_hex(h->bytes, sizeof h->bytes, hex);
    return json_string(hex);
}

static json_t *hexes_of(const struct merkle_hash *h, size_t count) {
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(list, hex_of(&h[i]));
    return list;
}

static enum vrs_err note_first(const struct log_read *r, void *arg) {
    *(uint64_t *)arg = r->seq;
    return VRS_OK;
}

static enum vrs_err size_of(struct partition *p, const struct log_lines *what, uint64_t *size) {
    struct log_head head;
    enum vrs_err e = access_log_head(p, &head);
    *size = what->head != NULL && what->head->size < head.size ? what->head->size : head.size;
    return e;
}

enum vrs_err log_lines_settle(struct partition *p, struct log_lines *what) {
    uint64_t first = 1, size = 0;
    enum vrs_err e = size_of(p, what, &size);
    if (e == VRS_OK)
        e = access_log_read(p, 0, 1, note_first, &first);
    if (e != VRS_OK)
        return e;
    if (what->from == 0)
        what->from = first;
    if (what->from < first)
        return ERR_NOT_FOUND;
    if (what->from > size + 1 || (what->to != 0 && what->to < what->from))
        return ERR_BAD_FIELD;
    if (what->to == 0 || what->to > size)
        what->to = size;
    if (what->to >= what->from + LOG_LINES_MOST)
        what->to = what->from + LOG_LINES_MOST - 1;
    return VRS_OK;
}

/* ---- lines */

static enum vrs_err put_header(struct partition *p, struct lines *l) {
    const struct log_lines *what = l->what;
    struct merkle_range start;
    struct log_head head;
    enum vrs_err e = access_log_head(p, &head);
    if (e == VRS_OK)
        e = access_log_range_at(p, what->from - 1, &start);
    if (e != VRS_OK)
        return e;
    json_t *line = json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:o}", "export", "vrs-log-export/1",
                             "municipality_code", partition_code(p), "epoch",
                             what->head != NULL ? what->head->epoch : head.epoch, "size",
                             (json_int_t)l->size, "from", (json_int_t)what->from, "to",
                             (json_int_t)what->to, "start", hexes_of(start.peak, start.count));
    if (line != NULL && what->to < l->size)
        (void)json_object_set_new(line, "next", json_integer((json_int_t)what->to + 1));
    return put(l->out, line);
}

static void add_words(json_t *line, const struct log_read *r) {
    char at[25];
    clock_format_rfc3339(r->at_ms, at);
    json_t *words = json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:I}", "at", at, "user",
                              r->user, "section", r->section, "terminal", r->terminal, "source",
                              r->source, "act", r->act, "purpose", r->purpose, "result", r->result,
                              "detail", r->detail, "addressee_number", r->addressee, "four_items",
                              r->four_items, "count", (json_int_t)r->count);
    (void)json_object_update(line, words);
    json_decref(words);
}

static enum vrs_err put_entry(const struct log_read *r, void *arg) {
    static const struct merkle_hash none;
    struct lines *l = arg;
    json_t *line =
        json_pack("{s:I,s:o}", "entry", (json_int_t)r->seq, "entry_hash", hex_of(&r->entry_hash));
    if (line != NULL && memcmp(&r->commitment, &none, sizeof none) != 0)
        (void)json_object_set_new(line, "commitment", hex_of(&r->commitment));
    if (line != NULL && r->clear[0] != '\0')
        (void)json_object_set_new(line, "text", json_string(r->clear));
    if (line != NULL && l->what->words)
        add_words(line, r);
    l->count++;
    return put(l->out, line);
}

static enum vrs_err put_consistency(struct partition *p, struct lines *l, uint64_t from) {
    struct merkle_hash path[MERKLE_MAX_DEPTH];
    size_t count = 0;
    enum vrs_err e = access_log_consistency(p, from, l->size, path, &count);
    return e != VRS_OK
               ? e
               : put(l->out, json_pack("{s:{s:I,s:I,s:o}}", "consistency", "from", (json_int_t)from,
                                       "to", (json_int_t)l->size, "path", hexes_of(path, count)));
}

enum vrs_err log_lines_write(struct partition *p, const struct log_lines *what, struct buffer *out,
                             uint64_t *count) {
    struct lines l = {.what = what, .out = out};
    enum vrs_err e = size_of(p, what, &l.size);
    if (e == VRS_OK)
        e = put_header(p, &l);
    for (uint64_t next = what->from; e == VRS_OK && next <= what->to;) {
        uint64_t before = l.count, left = what->to - next + 1;
        e = access_log_read(p, next - 1, left < 500 ? left : 500, put_entry, &l);
        next += l.count - before;
        if (e == VRS_OK && l.count == before)
            e = ERR_TAMPERED;
    }
    if (e == VRS_OK && what->to < l.size)
        e = put_consistency(p, &l, what->to);
    for (size_t i = 0; e == VRS_OK && i < what->checkpoints; i++) {
        if (what->checkpoint[i] > 0 && what->checkpoint[i] < l.size &&
            what->checkpoint[i] != what->to)
            e = put_consistency(p, &l, what->checkpoint[i]);
    }
    if (e == VRS_OK && what->head != NULL)
        e = put(out, json_pack("{s:o}", "head", proof_head_json(what->head)));
    if (e == VRS_OK)
        e = put(out, json_pack("{s:I}", "end", (json_int_t)l.count));
    *count = l.count;
    return e;
}
