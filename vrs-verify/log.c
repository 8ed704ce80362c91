/* An export of the log: every leaf goes into the tree, and whenever the tree has the size of a head
 * that somebody holds, it must have that head's root.
 *
 * Invariant: `range` is the tree of the entries 1 … next-1; what of them was not shown (a start
 * after the first) is bound by the roots that follow. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log_text.h"
#include "vrs-verify/verify.h"

struct proof_line {
    uint64_t from, to;
    size_t count;
    struct merkle_hash path[MERKLE_MAX_DEPTH];
};

struct log_check {
    struct verifier *v;
    const char *path; /* of the file being read */
    char municipality[7];
    char epoch[LOG_TEXT_EPOCH_BYTES];
    bool begun, epoch_known;
    uint64_t first, next;
    uint64_t good; /* size of the last head that was met */
    struct merkle_range range;
    struct merkle_hash start_root;
    uint64_t purged; /* as the last purge in sight says */
    bool purge_met;
    /* the present file */
    uint64_t size, to, entries;
    bool has_head, has_end;
    struct log_signed_head head;
    struct proof_line *proofs; /* owned */
    size_t proof_count;
    /* the last complete file's head */
    struct log_signed_head last;
};

static bool same(const struct merkle_hash *a, const struct merkle_hash *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static bool hash_of(const json_t *v, struct merkle_hash *out) {
    const char *hex = json_string_value(v);
    return hex != NULL && strlen(hex) == 2 * sizeof out->bytes &&
           crypto_unhex(hex, out->bytes, sizeof out->bytes);
}

static uint64_t number_of(const json_t *o, const char *name) {
    json_int_t n = json_integer_value(json_object_get(o, name));
    return n < 0 ? 0 : (uint64_t)n;
}

static bool text_of(const json_t *o, const char *name, char *out, size_t cap) {
    const char *s = json_string_value(json_object_get(o, name));
    return s != NULL && (size_t)snprintf(out, cap, "%s", s) < cap;
}

static bool hashes_of(const json_t *list, struct merkle_hash *out, size_t *count) {
    *count = json_array_size(list);
    bool good = json_is_array(list) && *count <= MERKLE_MAX_DEPTH;
    for (size_t i = 0; good && i < *count; i++)
        good = hash_of(json_array_get(list, i), &out[i]);
    return good;
}

static bool malformed(struct log_check *c) {
    say_bad(c->v, "%s：%" PRIu64 " 件目の前後で書式が正しくありません。",
            "%s: malformed around entry %" PRIu64 ".", c->path, c->next);
    return false;
}

/* ---- heads that somebody holds */

/* The tree has as many entries as some heads: it is the same tree, or entries were changed. */
static bool meet_points(struct log_check *c) {
    struct merkle_hash root;
    bool any = false;
    for (size_t i = 0; i < c->v->point_count; i++) {
        struct point *p = &c->v->points[i];
        char at[25];
        if (p->settled || p->head.size != c->range.size)
            continue;
        if (!any)
            merkle_range_root(&c->range, &root);
        any = p->settled = true;
        if (same(&root, &p->head.root)) {
            c->good = c->range.size;
            continue;
        }
        clock_format_rfc3339(p->head.signed_ms, at);
        say_bad(c->v,
                "%" PRIu64 "〜%" PRIu64
                " 件目のどこかが、%s に署名された内容と違います（%s）。改ざんの疑いがあります。",
                "Among entries %" PRIu64 " to %" PRIu64
                " something is not what was signed at %s (%s): changed afterwards.",
                c->good + 1, c->range.size, at, p->source);
        return false;
    }
    return true;
}

/* A restore: heads beyond what it found are explained as far as its text owns up to them. */
static bool meet_epoch(struct log_check *c, const char *text, uint64_t entry) {
    struct log_epoch_text t;
    if (!log_epoch_parse(text, &t) || strcmp(t.municipality, c->municipality) != 0 ||
        t.restored != entry - 1 || t.known < t.restored ||
        (c->epoch_known && t.known == t.restored && strcmp(t.previous, c->epoch) != 0)) {
        say_bad(c->v, "%" PRIu64 " 件目の復元の記録が正しくありません。",
                "Entry %" PRIu64 ": what it says of a restore cannot be.", entry);
        return false;
    }
    memcpy(c->epoch, t.epoch, sizeof c->epoch);
    c->epoch_known = true;
    say_note("%" PRIu64 " 件目：バックアップから復元（%" PRIu64 " 件まで。失われた記録 %" PRIu64
             " 件）。",
             "Entry %" PRIu64 ": restored from a backup of %" PRIu64 " entries; %" PRIu64
             " were lost.",
             entry, t.restored, t.known - t.restored);
    for (size_t i = 0; i < c->v->point_count; i++) {
        struct point *p = &c->v->points[i];
        if (p->settled || strcmp(p->head.epoch, t.previous) != 0 || p->head.size <= t.restored)
            continue;
        p->settled = true;
        if (p->head.size > t.known ||
            (p->head.size == t.known && !same(&p->head.root, &t.known_root))) {
            say_bad(c->v,
                    "%s は %" PRIu64 " 件を示していますが、復元の記録（%" PRIu64
                    " 件）と合いません。",
                    "%s is over %" PRIu64 " entries, which the restore (of %" PRIu64
                    " known) does not own up to.",
                    p->source, p->head.size, t.known);
            return false;
        }
    }
    return true;
}

static bool meet_purge(struct log_check *c, const char *text, uint64_t entry) {
    struct log_purge_text t;
    if (!log_purge_parse(text, &t) || strcmp(t.municipality, c->municipality) != 0 ||
        t.size >= entry || (c->epoch_known && strcmp(t.epoch, c->epoch) != 0)) {
        say_bad(c->v, "%" PRIu64 " 件目の廃棄の記録が正しくありません。",
                "Entry %" PRIu64 ": what it says of a purge cannot be.", entry);
        return false;
    }
    memcpy(c->epoch, t.epoch, sizeof c->epoch);
    c->epoch_known = true;
    c->purged = t.size;
    c->purge_met = c->purge_met || (t.size == c->first - 1 && same(&t.root, &c->start_root));
    return true;
}

/* ---- lines */

static bool read_start(struct log_check *c, const json_t *o) {
    struct merkle_range r;
    const json_t *start = json_object_get(o, "start");
    uint64_t size = number_of(o, "from") - 1;
    struct merkle_hash hash;
    merkle_range_init(&r);
    size_t at = 0;
    for (unsigned level = MERKLE_MAX_DEPTH - 1; level-- > 0;) {
        if ((size >> level & 1) == 0)
            continue;
        if (!hash_of(json_array_get(start, at++), &hash) ||
            !merkle_range_add_subtree(&r, level, &hash))
            return malformed(c);
    }
    if (json_array_size(start) != at)
        return malformed(c);
    if (!c->begun) {
        c->range = r;
        c->first = c->next = size + 1;
        merkle_range_root(&r, &c->start_root);
        c->epoch_known = size == 0;
        memcpy(c->epoch, "1", 2);
    } else if (size != c->next - 1 || r.count != c->range.count ||
               memcmp(r.peak, c->range.peak, r.count * sizeof *r.peak) != 0) {
        say_bad(c->v, "%s は前のファイルの続き（%" PRIu64 " 件目から）ではありません。",
                "%s does not go on from the file before it (from entry %" PRIu64 ").", c->path,
                c->next);
        return false;
    }
    return true;
}

static bool read_header(struct log_check *c, const json_t *o) {
    const char *format = json_string_value(json_object_get(o, "export"));
    char municipality[7], epoch[LOG_TEXT_EPOCH_BYTES];
    c->size = number_of(o, "size");
    c->to = number_of(o, "to");
    if (format == NULL || strcmp(format, "vrs-log-export/1") != 0 ||
        !text_of(o, "municipality_code", municipality, sizeof municipality) ||
        !text_of(o, "epoch", epoch, sizeof epoch) || number_of(o, "from") == 0 ||
        c->to < number_of(o, "from") - 1 || c->to > c->size)
        return malformed(c);
    if (c->begun && strcmp(c->municipality, municipality) != 0) {
        say_bad(c->v, "%s は別の自治体（%s）の記録です。", "%s is of another municipality (%s).",
                c->path, municipality);
        return false;
    }
    memcpy(c->municipality, municipality, sizeof c->municipality);
    if (!read_start(c, o))
        return false;
    c->begun = true;
    return meet_points(c);
}

static bool read_entry(struct log_check *c, const json_t *o) {
    static const struct merkle_hash none;
    struct merkle_hash commitment = none, entry_hash, leaf, text_hash;
    const json_t *given = json_object_get(o, "commitment");
    const char *text = json_string_value(json_object_get(o, "text"));
    uint64_t entry = number_of(o, "entry");
    if (entry != c->next) {
        say_bad(c->v, "%" PRIu64 " 件目がありません（代わりに %" PRIu64 " 件目）。",
                "Entry %" PRIu64 " is missing (entry %" PRIu64 " stands there).", c->next, entry);
        return false;
    }
    if (c->next > c->to || (given != NULL && !hash_of(given, &commitment)) ||
        !hash_of(json_object_get(o, "entry_hash"), &entry_hash))
        return malformed(c);
    if (text != NULL) {
        crypto_sha256(text, strlen(text), text_hash.bytes);
        if (!same(&text_hash, &commitment)) {
            say_bad(c->v, "%" PRIu64 " 件目の文面が記録された内容と違います。",
                    "Entry %" PRIu64 ": its text is not what it commits to.", entry);
            return false;
        }
        bool good = true;
        if (strncmp(text, "vrs-epoch/", 10) == 0)
            good = meet_epoch(c, text, entry);
        else if (strncmp(text, "vrs-purge/", 10) == 0)
            good = meet_purge(c, text, entry);
        if (!good)
            return false;
    }
    proof_leaf(&commitment, &entry_hash, &leaf);
    merkle_range_add(&c->range, &leaf);
    c->next++;
    c->entries++;
    return meet_points(c);
}

static bool read_consistency(struct log_check *c, const json_t *o) {
    struct proof_line *grown = reallocarray(c->proofs, c->proof_count + 1, sizeof *grown);
    if (grown == NULL)
        return malformed(c);
    c->proofs = grown;
    struct proof_line *p = &c->proofs[c->proof_count++];
    p->from = number_of(o, "from");
    p->to = number_of(o, "to");
    return hashes_of(json_object_get(o, "path"), p->path, &p->count) || malformed(c);
}

static bool read_line(struct log_check *c, const char *text, size_t len, bool first) {
    json_t *o = NULL;
    bool good = !c->has_end && json_parse(text, len, &o, NULL) == VRS_OK;
    if (!good)
        return malformed(c);
    if (first) {
        good = read_header(c, o);
    } else if (json_object_get(o, "entry") != NULL && !c->has_head) {
        good = read_entry(c, o);
    } else if (json_object_get(o, "consistency") != NULL && !c->has_head) {
        good = read_consistency(c, json_object_get(o, "consistency"));
    } else if (json_object_get(o, "head") != NULL && !c->has_head) {
        c->has_head = proof_head_from_json(json_object_get(o, "head"), &c->head) == VRS_OK;
        good = c->has_head || malformed(c);
    } else if (json_object_get(o, "end") != NULL) {
        c->has_end = number_of(o, "end") == c->entries;
        good = c->has_end || malformed(c);
    } else {
        good = malformed(c);
    }
    json_decref(o);
    return good;
}

/* ---- the end of a file */

static const struct proof_line *proof_from(const struct log_check *c, uint64_t from) {
    for (size_t i = 0; i < c->proof_count; i++) {
        if (c->proofs[i].from == from && c->proofs[i].to == c->head.size)
            return &c->proofs[i];
    }
    return NULL;
}

static bool prefix_of_head(const struct log_check *c, uint64_t size,
                           const struct merkle_hash *root) {
    const struct proof_line *p = proof_from(c, size);
    if (size == c->head.size)
        return same(root, &c->head.root);
    return p != NULL &&
           merkle_consistency_check(size, root, c->head.size, &c->head.root, p->path, p->count);
}

static bool end_file(struct log_check *c) {
    struct merkle_hash root;
    if (!c->has_end || c->next != c->to + 1) {
        say_bad(c->v, "%s が途中で切れています（%" PRIu64 " 件目から）。",
                "%s is cut off (from entry %" PRIu64 ").", c->path, c->next);
        return false;
    }
    if (!c->has_head) {
        say_bad(c->v, "%s に署名付きヘッドがありません。", "%s has no signed head.", c->path);
        return false;
    }
    if (strcmp(c->head.municipality, c->municipality) != 0 || c->head.size != c->size ||
        !proof_keys_head_check(&c->v->keys, &c->head)) {
        say_bad(c->v, "%s の署名を確認できません（鍵 %s）。",
                "%s: the signature of its head does not verify (key %s).", c->path, c->head.key_id);
        return false;
    }
    merkle_range_root(&c->range, &root);
    if (!prefix_of_head(c, c->to, &root)) {
        say_bad(c->v, "%" PRIu64 "〜%" PRIu64 " 件目のどこかが、署名された内容と違います。",
                "Among entries %" PRIu64 " to %" PRIu64 " something is not what was signed.",
                c->good + 1, c->to);
        return false;
    }
    if (c->to == c->size)
        c->good = c->to;
    for (size_t i = 0; i < c->v->point_count; i++) {
        struct point *p = &c->v->points[i];
        if (!p->settled && p->head.size < c->head.size && proof_from(c, p->head.size) != NULL)
            p->settled = prefix_of_head(c, p->head.size, &p->head.root);
    }
    c->last = c->head;
    return point_add(c->v, &c->head, c->path); /* the next file has to meet it */
}

static bool read_file(struct log_check *c) {
    FILE *f = fopen(c->path, "rb");
    char *line = NULL;
    size_t room = 0;
    ssize_t n;
    bool good = f != NULL, first = true;
    c->entries = 0;
    c->has_head = c->has_end = false;
    c->proof_count = 0;
    if (f == NULL)
        say_bad(c->v, "%s を読めません。", "%s cannot be read.", c->path);
    while (good && (n = getline(&line, &room, f)) > 0) {
        good = n <= VERIFY_MAX_LINE && read_line(c, line, (size_t)n, first);
        first = false;
    }
    free(line);
    if (f != NULL)
        (void)fclose(f);
    return good && (first ? malformed(c) : end_file(c));
}

/* ---- what is left */

static void settle_points(struct log_check *c) {
    for (size_t i = 0; i < c->v->point_count; i++) {
        const struct point *p = &c->v->points[i];
        char at[25];
        clock_format_rfc3339(p->head.signed_ms, at);
        if (p->settled || (p->head.size == c->last.size && same(&p->head.root, &c->last.root)))
            continue;
        if (p->head.size > c->last.size)
            say_bad(c->v,
                    "%s に %" PRIu64 " 件が署名されています（%s）が、この記録は %" PRIu64
                    " 件で終わっています。%" PRIu64 " 件目から失われています。",
                    "At %s %" PRIu64 " entries were signed (%s), but this log ends after %" PRIu64
                    ": entries from %" PRIu64 " on are gone.",
                    at, p->head.size, p->source, c->last.size, c->last.size + 1);
        else if (proof_from(c, p->head.size) != NULL)
            say_bad(c->v, "%s に署名された %" PRIu64 " 件の記録（%s）と、この記録は別のものです。",
                    "What was signed at %s over %" PRIu64 " entries (%s) is not in this log.", at,
                    p->head.size, p->source);
        else
            say_bad(c->v,
                    "%s（%" PRIu64 " 件）はこの書き出しでは確認できません。checkpoints=%" PRIu64
                    " を付けて書き出してください。",
                    "%s (%" PRIu64 " entries) cannot be checked with this export; ask for it with "
                    "checkpoints=%" PRIu64 ".",
                    p->source, p->head.size, p->head.size);
    }
}

/* Before anything is compared: a head counts only with its signature. */
static bool check_points(struct verifier *v, const char *municipality, size_t *ours) {
    for (size_t i = 0; i < v->point_count; i++) {
        struct point *p = &v->points[i];
        if (strcmp(p->head.municipality, municipality) != 0) {
            p->settled = true; /* of another log: a file of checkpoints may hold several */
        } else if (!proof_keys_head_check(&v->keys, &p->head)) {
            say_bad(v, "%s の署名を確認できません（鍵 %s）。",
                    "%s: the signature does not verify (key %s).", p->source, p->head.key_id);
            return false;
        } else {
            ++*ours;
        }
    }
    return true;
}

/* The municipality that the first file is of. */
static bool municipality_of(struct verifier *v, const char *path, char out[7]) {
    FILE *f = fopen(path, "rb");
    char *line = NULL;
    size_t room = 0;
    json_t *o = NULL;
    ssize_t n = f != NULL ? getline(&line, &room, f) : -1;
    bool good = n > 0 && n <= VERIFY_MAX_LINE && json_parse(line, (size_t)n, &o, NULL) == VRS_OK &&
                text_of(o, "municipality_code", out, 7);
    if (!good)
        say_bad(v, "%s は操作記録の書き出しではありません。", "%s is no export of a log.", path);
    json_decref(o);
    free(line);
    if (f != NULL)
        (void)fclose(f);
    return good;
}

void verify_log(struct verifier *v, char *const paths[], size_t count) {
    struct log_check c = {.v = v};
    char municipality[7];
    size_t given = 0;
    bool good = municipality_of(v, paths[0], municipality) && check_points(v, municipality, &given);
    for (size_t i = 0; good && i < count; i++) {
        c.path = paths[i];
        good = read_file(&c);
    }
    if (good) {
        settle_points(&c);
        if (c.epoch_known && strcmp(c.epoch, c.last.epoch) != 0)
            say_bad(v, "記録の世代が署名と違います。",
                    "The log's epoch is not the one that was signed.");
        if (c.first > 1 && c.purge_met)
            say_note("1〜%" PRIu64
                     " 件目は保存期間（7年）の経過により廃棄されています（廃棄の記録あり）。",
                     "Entries 1 to %" PRIu64 " were purged after seven years, as an entry says.",
                     c.first - 1);
        else if (c.first > 1)
            say_note("1〜%" PRIu64 " 件目はこの書き出しに含まれていません。",
                     "Entries 1 to %" PRIu64 " are not part of this export.", c.first - 1);
        if (given == 0)
            say_note("外部に控えた署名付きヘッドがないため、末尾の切り捨ては検出できません。",
                     "No head kept elsewhere was given: entries cut off at the end cannot be "
                     "noticed.");
    }
    if (v->bad == 0) {
        char root[2 * CRYPTO_HASH_BYTES + 1];
        crypto_hex(c.last.root.bytes, sizeof c.last.root.bytes, root);
        say_good("%s：%" PRIu64 "〜%" PRIu64 " 件目を確認しました（全 %" PRIu64
                 " 件、ルート %s、世代 %s）。",
                 "%s: entries %" PRIu64 " to %" PRIu64 " checked (of %" PRIu64
                 ", root %s, epoch %s).",
                 c.municipality, c.first, c.next - 1, c.last.size, root, c.last.epoch);
    }
    free(c.proofs);
}
