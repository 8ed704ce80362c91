/* What a run of ocr-ingest is told: a configuration file, then the command line.  Each key of the
 * file is also an option (site_name → --site-name); options win. */
#ifndef OCR_INGEST_FEED_OPTIONS_H
#define OCR_INGEST_FEED_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/err.h"

enum { FEED_BATCH_MAX = 1000 };

struct feed_options {
    /* where to */
    char *url;
    char *ca_file;
    char *cert_file;
    char *key_file;
    char *user_id; /* "": a system client, no log-in */
    char *password_file;
    /* what is the same for every coupon; in a CSV only for cells that are absent or empty */
    char *product;
    char *lot;
    char *vaccinated_on;
    char *site;
    char *physician;
    char *read_by;
    char *status; /* "": by the kind of coupon */
    /* files */
    char *input;  /* "-": standard input */
    char *format; /* "lines", "csv", "fixed", "auto" (by layout and name) */
    char *layout; /* of fixed width: feed_fixed.h; "" none */
    char *journal_file;
    char *report_file;
    char *data_dir;
    char *log_keys_file; /* "": proofs are not checked */
    /* how */
    int64_t batch_rows;
    int64_t timeout_ms;
    int64_t give_up_s;
    int64_t outcome_wait_s;
    int64_t idle_ms;
    int64_t progress_s;
    /* command line only */
    bool check_only;
};

/* -1 to go on with *o filled and complete, otherwise an exit status (help, or a mistake that was
 * told on standard error). */
int feed_options_read(int argc, char **argv, struct feed_options *o);
void feed_options_free(struct feed_options *o);
/* The input is a CSV. */
bool feed_options_csv(const struct feed_options *o);
/* It is a file in fixed width. */
bool feed_options_fixed(const struct feed_options *o);

#endif
