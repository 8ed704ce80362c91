/* The access log of a partition: in the records file, so that a record and its entry commit in one
 * transaction.  No entry, no data (rule 8).
 *
 * An entry is sealed under the log key of the municipality.  Its RFC 6962 leaf hash is
 * leaf[n] = SHA-256(0x00 || sealed blob), and chain[n] = SHA-256(0x01 || chain[n-1] || leaf[n])
 * with chain[0] = zeros.  Row n carries chain[n-1] in index column 1, authenticated by its own
 * seal; so the head follows from the last row, and nothing of it has to be kept in step.  Order is
 * the sequence number (1, 2, … no gap), and the row's id is made of it. Contents: the seven items
 * of C60 (港区: 処理日時、職員情報、部署情報、端末情報、処理事由、宛名番号、 4情報) plus kind of
 * act, result and count. */
#ifndef PARTITIONS_ACCESS_LOG_H
#define PARTITIONS_ACCESS_LOG_H

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
};

/* Appends; *seq may be NULL.  Costs one read of the last row: nothing is cached that an undone
 * savepoint could leave wrong. */
VRS_CHECK enum vrs_err access_log_append(struct partition *p, const struct log_entry *e,
                                         uint64_t *seq);

/* An entry as read back; strings live in `text`. */
struct log_read {
    uint64_t seq;
    int64_t at_ms;
    const char *user, *section, *terminal, *source, *act, *purpose, *result, *detail;
    const char *addressee, *four_items; /* 宛名番号; 4情報 in one line */
    uint64_t count;
    size_t subject_count;
    uint8_t leaf[32];
};
typedef enum vrs_err log_read_fn(const struct log_read *e, void *arg);
/* Entries after `after`, at most `limit`. Reading is itself an act: the caller appends that. */
VRS_CHECK enum vrs_err access_log_read(struct partition *p, uint64_t after, uint64_t limit,
                                       log_read_fn *fn, void *arg);
/* Entries about one person, by its row id, oldest first, each once. */
VRS_CHECK enum vrs_err access_log_of_person(struct partition *p, const struct record_id *person,
                                            log_read_fn *fn, void *arg);

struct log_head {
    uint64_t size;
    uint8_t chain[32];
    char epoch[40]; /* log epoch: a new one is opened by a restore */
};
VRS_CHECK enum vrs_err access_log_head(struct partition *p, struct log_head *out);
/* Walks all leaves: sequence without gap, chain over the sealed entries, every entry opens, every
 * entry's subjects are there, the epoch is the one that the last opened one names.  ERR_TAMPERED
 * with the first bad sequence in *bad_seq (size + 1: something is missing after the end, or beside
 * the sequence).  `from` (may be NULL) is an earlier head that must still be in the chain: without
 * one, a log that was cut at its end cannot be told from a shorter one. */
VRS_CHECK enum vrs_err access_log_verify(struct partition *p, const struct log_head *from,
                                         struct log_head *head, uint64_t *bad_seq);
/* After a restore: a new epoch whose first entry names the last known head. */
VRS_CHECK enum vrs_err access_log_open_epoch(struct partition *p, const struct log_actor *who,
                                             const char *reason);

#endif
