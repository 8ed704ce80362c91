/* The export of a log for outsiders (docs/proof.md), as lines of JSON: what vrs-verify reads.
 *
 *   {"export": "vrs-log-export/1", "municipality_code", "epoch", "size", "from", "to",
 *    "start": [hex …], "next": to + 1 when there is more}
 *                                    size: of the signed tree; start: roots of the complete subtrees
 *                                    of the entries before `from`, largest first
 *   {"entry", "commitment": hex (absent: none), "entry_hash": hex, "text": what an epoch or purge
 *    commits to [, the entry's own words]}                                   one an entry
 *   {"consistency": {"from", "to": size, "path": [hex …]}}      when to < size, and where asked for
 *   {"head": {signed head}}                                     absent: the signer was away
 *   {"end": count of entries} */
#ifndef VRS_SERVER_LOG_LOG_LINES_H
#define VRS_SERVER_LOG_LOG_LINES_H

#include "ocr-ingest/proof.h"
#include "partitions/access_log.h"

enum { LOG_LINES_MOST = 5000, LOG_LINES_CHECKPOINTS = 32 };

struct log_lines {
    uint64_t from, to; /* 0: the first that there is, as many as fit in one answer */
    uint64_t checkpoint[LOG_LINES_CHECKPOINTS]; /* sizes to prove as prefixes */
    size_t checkpoints;
    bool words;                         /* the entries' own words, too: personal data */
    const struct log_signed_head *head; /* NULL: none */
};
/* Settles from and to against the log as it is committed, or as it is signed: ERR_NOT_FOUND for
 * what was purged, ERR_BAD_FIELD for what is not there yet.  Inside a transaction. */
VRS_CHECK enum vrs_err log_lines_settle(struct partition *p, struct log_lines *what);
/* Appends the export of what was settled; *count: entries. */
VRS_CHECK enum vrs_err log_lines_write(struct partition *p, const struct log_lines *what,
                                       struct buffer *out, uint64_t *count);

#endif
