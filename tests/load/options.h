/* What one run of vrs-load is told on its command line. */
#ifndef TESTS_LOAD_OPTIONS_H
#define TESTS_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct load_options {
    const char *url, *ca, *cert, *key;
    const char *user, *password_file; /* logs in by itself … */
    const char *token;                /* … or takes a session; neither: a system client */
    const char *coupons;              /* lines "municipality coupon_number" */
    const char *journal;              /* acknowledged receipts, appended */
    const char *log_keys;             /* --verify: public keys that proofs are checked with */
    const char *get;                  /* asks for this path instead of posting doses */
    const char *post, *bodies;        /* … or posts the lines of a file there, in turn */
    const char *expect;               /* a text in every answer of these; NULL: any will do */
    const char *product, *lot, *site;
    const char *from; /* first day of vaccination of dose 1 */
    uint64_t days;    /* it is spread over so many days */
    uint64_t interval_days;
    uint64_t dose_first, dose_last;
    uint64_t connections;
    uint64_t batch;   /* doses a request; 1: POST /v1/doses */
    bool by_town;     /* a batch ends where the municipality changes */
    uint64_t rate;    /* doses a second (open loop); 0: as fast as answered (closed loop) */
    uint64_t count;   /* 0: until the time is over */
    uint64_t seconds; /* new doses begin so long */
    uint64_t drain_s; /* then what is unknown is repeated so long */
    uint64_t timeout_ms;
    uint64_t again; /* each such dose is posted once more with its key: the receipt must be same */
    bool verify;
    bool idle; /* only connects, and holds the connections */
    bool wait; /* connects, then begins together with others: at a line on standard input */
};

/* -1 to go on, otherwise an exit status. */
int load_options_read(int argc, char **argv, struct load_options *o);

#endif
