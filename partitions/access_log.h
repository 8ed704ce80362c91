/* The access log of a partition: in the records file, so that a record and its entry commit in one
 * transaction.  No entry, no data (rule 8).
 *
 * An entry is sealed under the log key of the municipality.  The entries are the leaves of an
 * RFC 6962 tree (lib/merkle.h):
 *
 *   leaf = SHA-256(0x00 || commitment || SHA-256(sealed blob))
 *
 * The commitment (index column 1 of the row; zeros where there is none) is the hash of a statement
 * that an outsider can write down, though the entry is sealed: a receipt (ocr-ingest/proof.h), or
 * the clear text of an epoch or purge (lib/log_text.h).  Rows of a file from before the tree have
 * their old chain there; it is taken as their commitment.
 *
 * Order is the sequence number (1, 2, … no gap), and the row's id is made of it; leaf index =
 * sequence - 1.  What proofs need of the tree stands in TABLE_LOG_TILE and, while the partition is
 * open, in memory (log_tree.h).  Contents: the seven items of C60 (港区: 処理日時、職員情報、
 * 部署情報、端末情報、処理事由、宛名番号、4情報) plus kind of act, result and count. */
#ifndef PARTITIONS_ACCESS_LOG_H
#define PARTITIONS_ACCESS_LOG_H

#include "lib/clock.h"
#include "lib/log_text.h"
#include "lib/merkle.h"
#include "partitions/partition.h"

/* Who acts; borrowed strings.  Absent ones are "-" in the entry, never empty (C60). */
struct log_actor {
    const char *user;     /* user id, or "system:<name>" */
    const char *section;  /* 部署 */
    const char *terminal; /* certificate CN */
    const char *source;   /* "lgwan", "internet", "control", "system" */
};

struct person;

struct log_entry {
    struct log_actor actor;
    const char *act;     /* "resident.search", "dose.record", "inquiry.ask" … stable names */
    const char *purpose; /* 処理事由: code of the purpose, e.g. "vaccination_record" */
    const char *result;  /* "ok", error name, "match" … */
    const char *detail;  /* kinds of search terms, before/after of a correction …; may be NULL */
    uint64_t count;      /* how many records were shown or changed */
    /* The person it is about: 宛名番号 and 4情報 are taken from it; NULL when none or many. */
    const struct person *person;
    /* Row ids touched (persons): an entry is found by each of them. None: that of `person`. */
    const struct record_id *subjects;
    size_t subject_count;
    const struct merkle_hash *commitment; /* NULL none */
    const char *clear; /* instead of it: a text without personal data that exports show; its hash is
                          the commitment */
};

/* Appends; *seq may be NULL. */
VRS_CHECK enum vrs_err access_log_append(struct partition *p, const struct log_entry *e,
                                         uint64_t *seq);
/* The same, with what a proof of the entry says of it.  Of worth once the commit has answered. */
struct log_place {
    uint64_t entry;                /* sequence */
    struct merkle_hash entry_hash; /* SHA-256(sealed blob) */
};
VRS_CHECK enum vrs_err access_log_append_at(struct partition *p, const struct log_entry *e,
                                            struct log_place *out);

/* ---- reading.  Reading is itself an act: the caller appends that. */

/* An entry as read back; strings are lent for the call. */
struct log_read {
    uint64_t seq;
    int64_t at_ms;
    const char *user, *section, *terminal, *source, *act, *purpose, *result, *detail;
    const char *addressee, *four_items; /* 宛名番号; 4情報 in one line */
    const char *clear;                  /* "" none */
    uint64_t count;
    size_t subject_count;
    struct merkle_hash commitment, entry_hash, leaf;
};
typedef enum vrs_err log_read_fn(const struct log_read *e, void *arg);
/* Entries after `after`, at most `limit`. */
VRS_CHECK enum vrs_err access_log_read(struct partition *p, uint64_t after, uint64_t limit,
                                       log_read_fn *fn, void *arg);
/* One entry; ERR_NOT_FOUND when there is none or when it was purged. */
VRS_CHECK enum vrs_err access_log_one(struct partition *p, uint64_t seq, log_read_fn *fn,
                                      void *arg);
/* Entries about one person, by its row id, oldest first, each once. */
VRS_CHECK enum vrs_err access_log_of_person(struct partition *p, const struct record_id *person,
                                            log_read_fn *fn, void *arg);

/* ---- the tree: of what is committed; also outside a transaction */

struct log_head {
    char epoch[LOG_TEXT_EPOCH_BYTES]; /* a new one is opened by a restore */
    uint64_t size;
    struct merkle_hash root;
};
/* From memory.  ERR_TAMPERED: the stored rows make no tree. */
VRS_CHECK enum vrs_err access_log_head(struct partition *p, struct log_head *out);
/* As the present transaction would leave it, with what it has appended. */
VRS_CHECK enum vrs_err access_log_head_now(struct partition *p, struct log_head *out);
/* Audit path of an entry (sequence) in the tree of `size`: from memory for the last tile (256) and
 * the one before, else a tile is read.  `out` has room for MERKLE_MAX_DEPTH hashes. */
VRS_CHECK enum vrs_err access_log_path(struct partition *p, uint64_t entry, uint64_t size,
                                       struct merkle_hash *out, size_t *count);
VRS_CHECK enum vrs_err access_log_consistency(struct partition *p, uint64_t from, uint64_t to,
                                              struct merkle_hash *out, size_t *count);
VRS_CHECK enum vrs_err access_log_root_at(struct partition *p, uint64_t size,
                                          struct merkle_hash *out);
/* The complete subtrees of the first `size` entries: with them a reader goes on from there. */
VRS_CHECK enum vrs_err access_log_range_at(struct partition *p, uint64_t size,
                                           struct merkle_range *out);

/* After a restore: a new epoch, whose first entry names the last known head of the one before
 * (`known`; NULL or not beyond what was restored: the restored head itself). */
VRS_CHECK enum vrs_err access_log_open_epoch(struct partition *p, const struct log_actor *who,
                                             const char *reason, const struct log_head *known);

/* ---- log_check.c */

/* Walks all leaves and tiles, as the present transaction sees them: sequence without gap, every
 * entry opens, its subjects are there, the tiles are what the leaves say, the epoch is the one that
 * the last opened one names, what is missing at the start is what the last purge names.
 * ERR_TAMPERED with the first bad sequence in *bad_seq (size + 1: something is missing after the
 * end, or beside the sequence).  `from` (may be NULL) is an earlier head, kept outside, that must be
 * a prefix: without one, a log that was cut at its end cannot be told from a shorter one.  A head of
 * an epoch before the present one may be longer than what a restore found, as far as the epoch's
 * entry says so. */
VRS_CHECK enum vrs_err access_log_verify(struct partition *p, const struct log_head *from,
                                         struct log_head *head, uint64_t *bad_seq);

/* ---- log_purge.c */

enum { LOG_KEEP_YEARS = 7 }; /* 港区: 記録は7年間保存しており; nobody's right goes below it (C62) */
/* The last day (in Japan) on which an entry of `at_ms` that is kept `years` may not be purged. */
VRS_CHECK enum vrs_err access_log_purge_day(int64_t at_ms, int years, struct civil_date *out);
/* Removes entries (and their subject rows) that are older than `years` (at least LOG_KEEP_YEARS,
 * asserted), as whole tiles from the start, at most `max_tiles`; their leaf hashes stay, so that all
 * proofs and roots verify as before.  The purge is itself an entry with the count, made before
 * anything goes; when nothing is old enough there is none, and *purged is 0. */
VRS_CHECK enum vrs_err access_log_purge(struct partition *p, const struct log_actor *who, int years,
                                        unsigned max_tiles, uint64_t *purged);

#endif
