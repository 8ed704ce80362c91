// needs: vrs-server/number/area.c vrs-server/number/copy.c vrs-server/number/rotate.c
// needs: vrs-server/number/carry.c vrs-server/number/access.c vrs-server/number/message.c
/* fill SERVER_STATE SERVER_KEK NUMBER_STATE NUMBER_KEK <LIST: residents with coupons and 個人番号 into
 * stopped stacks, through the partitions' own API, where importing them like anybody would take the
 * bench an hour.
 *
 * A line of LIST: "code people [from]".  The i-th of a municipality (from 0) has an own 宛名番号, coupon
 * 1000007 + 7 i as dev/residents.py has it, and the number that fill_number makes of both. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "partitions/person.h"
#include "vrs-server/number/area.h"

enum { GROUP = 2000 }; /* residents a commit */

/* Thousands of small files, each synced several times, would take minutes.  What a bench fills need
 * not survive a crash in the middle: these stand in for the C library's, and one sync(2) ends it. */
int fsync(int fd) {
    (void)fd;
    return 0;
}

int fdatasync(int fd) {
    (void)fd;
    return 0;
}

struct tool {
    struct keyring *keys, *number_keys;
    struct area *area;
    char partitions[512];
    struct number_request *request[GROUP];
    struct vrs_fault fault;
};

/* Eleven digits out of municipality and resident, and the check digit of 番号法. */
static void fill_number(const char *code, uint64_t i, struct personal_number *out) {
    static const unsigned weight[] = {6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2};
    unsigned sum = 0;
    char digits[24];
    (void)snprintf(digits, sizeof digits, "%.4s%07" PRIu64, code, (i * 7919 + 1) % 10000000);
    for (size_t n = 0; n < 11; n++)
        sum += weight[n] * (unsigned)(digits[n] - '0');
    unsigned rest = sum % 11;
    (void)snprintf(out->digits, sizeof out->digits, "%.11s%u", digits, rest <= 1 ? 0 : 11 - rest);
}

static enum vrs_err put_resident(struct partition *p, const char *code, uint64_t i,
                                 struct number_request *rq) {
    static const char *const families[] = {"佐藤 サトウ", "鈴木 スズキ", "高橋 タカハシ",
                                           "田中 タナカ", "渡邊 ワタナベ"};
    struct person r;
    bool added = false;
    char coupon[16];
    person_init(&r);
    const char *family = families[i % 5];
    int cut = (int)strcspn(family, " ");
    (void)snprintf(r.addressee, sizeof r.addressee, "%.5s%08" PRIu64, code, (i + 1) % 100000000);
    (void)snprintf(r.name, sizeof r.name, "%.*s　太郎%" PRIu64, cut, family, i);
    (void)snprintf(r.kana, sizeof r.kana, "%s タロウ", family + cut + 1);
    (void)snprintf(r.address, sizeof r.address, "本町%" PRIu64 "丁目%" PRIu64 "番", i % 7 + 1,
                   i % 31 + 1);
    r.birth.days = -14000 + (int32_t)(i * 37 % 25000); /* 1931 to 2000 */
    r.sex = i % 2 == 0 ? SEX_FEMALE : SEX_MALE;
    r.registered_ms = clock_now_ms();
    struct person_coupon c = {
        .person = r.id, .sent_on = {.days = 18718}, .registered_ms = r.registered_ms};
    record_id_new(&c.id);
    (void)snprintf(coupon, sizeof coupon, "%010" PRIu64, (i + 1) * 7 + 1000000);
    enum vrs_err e = coupon_number_set(&c.number, coupon) ? VRS_OK : ERR_BAD_REQUEST;
    if (e == VRS_OK)
        e = person_put(p, &r);
    if (e == VRS_OK)
        e = coupon_add(p, &c, &added);
    buffer_clear(&rq->fields);
    rq->verb = NUMBER_PUT;
    (void)snprintf(rq->municipality, sizeof rq->municipality, "%s", code);
    (void)snprintf(rq->right, sizeof rq->right, "resident.register");
    (void)snprintf(rq->purpose, sizeof rq->purpose, "bench");
    (void)snprintf(rq->user, sizeof rq->user, "bench");
    rq->has_row = true;
    record_id_new(&rq->row);
    fill_number(code, i, &rq->number);
    return e == VRS_OK ? number_link_add(p, &rq->row, &r.id) : e;
}

static enum vrs_err put_group(struct tool *t, struct partition *p, const char *code, uint64_t from,
                              uint64_t to) {
    enum vrs_err e = partition_begin(p);
    for (uint64_t i = from; e == VRS_OK && i < to; i++)
        e = put_resident(p, code, i, t->request[i - from]);
    if (e == VRS_OK) {
        area_run(t->area, t->request, to - from);
        for (uint64_t i = 0; e == VRS_OK && i < to - from; i++)
            e = t->request[i]->err;
    }
    return e == VRS_OK ? partition_commit(p) : e;
}

static enum vrs_err fill(struct tool *t, const char *code, uint64_t people, uint64_t from) {
    struct partition *p = NULL;
    enum vrs_err e = keyring_ensure(t->keys, code, &t->fault);
    if (e == VRS_OK)
        e = partition_open(&store_sqlite, t->partitions, code, t->keys, STORE_CREATE, &p,
                           &t->fault);
    if (e == VRS_OK)
        store_sqlite.favour(partition_store(p), true);
    for (uint64_t at = from; e == VRS_OK && at < people; at += GROUP)
        e = put_group(t, p, code, at, at + GROUP < people ? at + GROUP : people);
    partition_close(&p);
    return e;
}

static enum vrs_err open_tool(struct tool *t, char **argv) {
    char dir[512];
    (void)snprintf(t->partitions, sizeof t->partitions, "%s/partitions", argv[1]);
    (void)snprintf(dir, sizeof dir, "%s/keys", argv[1]);
    enum vrs_err e = keyring_open(dir, &kek_file, argv[2], 1U << KEY_RECORDS | 1U << KEY_LOG,
                                  &t->keys, &t->fault);
    (void)snprintf(dir, sizeof dir, "%s/keys", argv[3]);
    if (e == VRS_OK)
        e = keyring_open(dir, &kek_file, argv[4], 1U << KEY_NUMBERS, &t->number_keys, &t->fault);
    const struct area_options o = {
        .engine = &store_sqlite, .state_dir = argv[3], .keys = t->number_keys, .max_open = 4};
    if (e == VRS_OK)
        e = area_open(&o, &t->area, &t->fault);
    for (size_t i = 0; e == VRS_OK && i < GROUP; i++) {
        t->request[i] = calloc(1, sizeof *t->request[i]);
        if (t->request[i] == NULL)
            return err_fail(&t->fault, ERR_MEMORY, "requests");
        buffer_init(&t->request[i]->fields, 4096);
        buffer_init(&t->request[i]->text, 4096);
    }
    return e;
}

static void close_tool(struct tool *t) {
    for (size_t i = 0; i < GROUP && t->request[i] != NULL; i++) {
        number_request_fini(t->request[i]);
        free(t->request[i]);
    }
    area_close(&t->area);
    keyring_close(&t->number_keys);
    keyring_close(&t->keys);
}

int main(int argc, char **argv) {
    struct tool t = {0};
    char row[64], code[7];
    uint64_t people = 0, from = 0, all = 0;
    if (argc != 5) {
        (void)fprintf(stderr,
                      "usage: fill SERVER_STATE SERVER_KEK NUMBER_STATE NUMBER_KEK <LIST\n");
        return 2;
    }
    enum vrs_err e = open_tool(&t, argv);
    while (e == VRS_OK && fgets(row, sizeof row, stdin) != NULL) {
        from = 0;
        if (sscanf(row, "%6[0-9] %" SCNu64 " %" SCNu64, code, &people, &from) < 2 ||
            from > people || !municipality_code_valid(code))
            e = err_fail(&t.fault, ERR_BAD_REQUEST, "no municipality");
        else if ((e = fill(&t, code, people, from)) == VRS_OK)
            all += people - from;
    }
    close_tool(&t);
    sync();
    if (e != VRS_OK) {
        (void)fprintf(stderr, "fill: %s: %s\n", err_name(e), t.fault.text);
        return 1;
    }
    (void)printf("{\"residents\":%" PRIu64 "}\n", all);
    return 0;
}
