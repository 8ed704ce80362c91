#include "tests/load/options.h"

#include <getopt.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"

enum kind { TEXT, NUMBER, FLAG };

struct known {
    const char *name;
    enum kind kind;
    size_t at;
    const char *fallback; /* NULL: none */
    const char *help;
};

#define OPT(name, kind, member, fallback, help)                                                    \
    { name, kind, offsetof(struct load_options, member), fallback, help }

static const struct known known[] = {
    OPT("url", TEXT, url, NULL, "https://ADDRESS:PORT of a listener; http:// for a peer"),
    OPT("ca", TEXT, ca, NULL, "authority of the server"),
    OPT("cert", TEXT, cert, NULL, "own certificate"),
    OPT("key", TEXT, key, NULL, "its key"),
    OPT("user", TEXT, user, NULL, "log in as"),
    OPT("password-file", TEXT, password_file, NULL, "first line: the password"),
    OPT("token", TEXT, token, NULL, "an open session instead"),
    OPT("coupons", TEXT, coupons, NULL, "file of lines: municipality coupon_number"),
    OPT("journal", TEXT, journal, NULL, "file that acknowledged receipts are appended to"),
    OPT("get", TEXT, get, NULL, "ask for this path instead (a ceiling: any answer counts)"),
    OPT("post", TEXT, post, NULL, "post to this path instead …"),
    OPT("bodies", TEXT, bodies, NULL, "… the lines of this file, in turn"),
    OPT("expect", TEXT, expect, NULL, "an answer without this text is a failure (--get, --post)"),
    OPT("idle", FLAG, idle, NULL, "open the connections and hold them, no more"),
    OPT("wait", FLAG, wait, NULL, "say \"ready\", and begin when a pipe as standard input says so"),
    OPT("verify", FLAG, verify, NULL, "ask for every receipt of the journal until it is final"),
    OPT("log-keys", TEXT, log_keys, NULL, "… and check the proof of one in 16 with these keys"),
    OPT("product", TEXT, product, "comirnaty", "product id"),
    OPT("lot", TEXT, lot, "FF3620", "lot"),
    OPT("site", TEXT, site, "負荷試験会場", "site"),
    OPT("from", TEXT, from, "2021-07-01", "first day of dose 1"),
    OPT("days", NUMBER, days, "28", "dose 1 is spread over so many days"),
    OPT("interval-days", NUMBER, interval_days, "28", "between the doses of one coupon"),
    OPT("dose-first", NUMBER, dose_first, "1", "dose numbers from"),
    OPT("dose-last", NUMBER, dose_last, "1", "… to"),
    OPT("connections", NUMBER, connections, "64", "connections"),
    OPT("batch", NUMBER, batch, "1", "doses a request; above 1 by POST /v1/doses:batch"),
    OPT("by-town", FLAG, by_town, NULL, "a batch ends where the municipality changes"),
    OPT("rate", NUMBER, rate, "0",
        "doses a second, sent on time (a batch with its first) whatever comes back; 0: closed"),
    OPT("count", NUMBER, count, "0", "stop after so many doses; 0: by time"),
    OPT("seconds", NUMBER, seconds, "10", "begin new doses so long"),
    OPT("drain", NUMBER, drain_s, "30", "then settle what is unknown so many seconds"),
    OPT("timeout-ms", NUMBER, timeout_ms, "10000", "an answer that takes longer is lost"),
    OPT("again", NUMBER, again, "0", "post every N-th acknowledged dose again with its key"),
};
enum { KNOWN = sizeof known / sizeof known[0] };

static int usage(FILE *out) {
    (void)fputs("usage: vrs-load --url … [--ca … --cert … --key …] [--coupons … --journal …]\n",
                out);
    for (size_t i = 0; i < KNOWN; i++)
        (void)fprintf(out, "  --%-14s %s%s%s%s\n", known[i].name, known[i].help,
                      known[i].fallback != NULL ? " [" : "",
                      known[i].fallback != NULL ? known[i].fallback : "",
                      known[i].fallback != NULL ? "]" : "");
    return out == stdout ? 0 : 2;
}

static bool set(struct load_options *o, const struct known *k, const char *value) {
    void *at = (char *)o + k->at;
    char *end = NULL;
    switch (k->kind) {
    case TEXT:
        *(const char **)at = value;
        return true;
    case NUMBER:
        *(uint64_t *)at = strtoull(value, &end, 10);
        return end != value && *end == '\0' && value[0] != '-';
    case FLAG:
        *(bool *)at = true;
        return true;
    }
    return false;
}

static const char *mistake(const struct load_options *o) {
    struct civil_date day;
    bool doses = o->get == NULL && o->post == NULL && !o->idle;
    if (o->url == NULL)
        return "--url is needed";
    if (doses && o->journal == NULL)
        return "--journal is needed";
    if (doses && !o->verify && o->coupons == NULL)
        return "--coupons is needed";
    if ((o->post == NULL) != (o->bodies == NULL))
        return "--post and --bodies belong together";
    if ((o->user == NULL) != (o->password_file == NULL))
        return "--user and --password-file belong together";
    if (o->connections < 1 || o->connections > 20000 || o->batch < 1 || o->batch > 1000)
        return "1 to 20000 connections, 1 to 1000 doses a request";
    if (o->dose_first < 1 || o->dose_last > 9 || o->dose_first > o->dose_last)
        return "dose numbers are 1 to 9";
    if (o->days < 1 || o->days > 3650 || o->interval_days > 3650 || o->seconds > 86400 ||
        o->drain_s > 86400 || o->timeout_ms < 1 || o->timeout_ms > 600000 || o->rate > 1000000)
        return "a number is out of its range";
    if (clock_parse_date(o->from, &day) != VRS_OK)
        return "--from is YYYY-MM-DD";
    return NULL;
}

int load_options_read(int argc, char **argv, struct load_options *o) {
    struct option list[KNOWN + 2] = {{0}};
    int which = 0;
    memset(o, 0, sizeof *o);
    for (size_t i = 0; i < KNOWN; i++) {
        list[i] = (struct option){known[i].name,
                                  known[i].kind == FLAG ? no_argument : required_argument, NULL, 1};
        if (known[i].fallback != NULL)
            (void)set(o, &known[i], known[i].fallback);
    }
    list[KNOWN] = (struct option){"help", no_argument, NULL, 'h'};
    for (int got = 0; (got = getopt_long(argc, argv, "h", list, &which)) != -1;) {
        if (got == 'h')
            return usage(stdout);
        if (got != 1)
            return usage(stderr);
        if (!set(o, &known[which], optarg)) {
            (void)fprintf(stderr, "vrs-load: --%s %s is no number\n", known[which].name, optarg);
            return 2;
        }
    }
    const char *wrong = optind < argc ? "unknown word" : mistake(o);
    if (wrong != NULL) {
        (void)fprintf(stderr, "vrs-load: %s (--help)\n", wrong);
        return 2;
    }
    return -1;
}
