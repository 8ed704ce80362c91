/* The second place: what it keeps, what it refuses, what stays after years. */
// needs: tablet-api/checkpoints.c
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "tablet-api/checkpoints.h"

#define MINATO "131032"
#define HOUR_MS INT64_C(3600000)

static char folder[64], dir[96];
static struct checkpoints *place;

static void again(void) {
    struct vrs_fault fault = {0};
    checkpoints_close(&place);
    assert_int_equal(checkpoints_open(NULL, dir, &place, &fault), VRS_OK);
}

static int setup(void **state) {
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/test_checkpoints.XXXXXX");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(dir, sizeof dir, "%s/checkpoints", folder);
    again();
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f) {
    (void)st, (void)type, (void)f;
    return remove(path);
}

static int teardown(void **state) {
    (void)state;
    checkpoints_close(&place);
    return nftw(folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

static enum checkpoint_found keep_at(const char *municipality, const char *epoch, uint64_t size,
                                     uint8_t root, int64_t at_ms) {
    struct log_signed_head h;
    enum checkpoint_found found;
    memset(&h, 0, sizeof h);
    (void)snprintf(h.municipality, sizeof h.municipality, "%s", municipality);
    (void)snprintf(h.epoch, sizeof h.epoch, "%s", epoch);
    memcpy(h.key_id, "0123abcd", 9);
    h.size = size;
    h.signed_ms = at_ms;
    memset(&h.root, root, sizeof h.root);
    assert_int_equal(checkpoints_keep(place, &h, &found), VRS_OK);
    return found;
}

static enum checkpoint_found keep(const char *epoch, uint64_t size, uint8_t root) {
    return keep_at(MINATO, epoch, size, root, clock_now_ms());
}

static size_t pages(const char *municipality, int64_t since_ms, bool *more) {
    struct buffer b;
    buffer_init(&b, 1 << 20);
    assert_int_equal(checkpoints_read(place, municipality, since_ms, &b), VRS_OK);
    json_t *doc = json_loadb((const char *)b.data, b.len, 0, NULL);
    assert_non_null(doc);
    size_t n = json_array_size(json_object_get(doc, "checkpoints"));
    struct log_signed_head h;
    for (size_t i = 0; i < n; i++)
        assert_int_equal(
            proof_head_from_json(json_array_get(json_object_get(doc, "checkpoints"), i), &h),
            VRS_OK);
    if (more != NULL)
        *more = json_object_get(doc, "next") != NULL;
    json_decref(doc);
    buffer_fini(&b);
    return n;
}

static void test_contradictions_are_forks(void **state) {
    (void)state;
    assert_int_equal(keep("1", 5, 1), CHECKPOINT_KEPT);
    assert_int_equal(keep("1", 5, 1), CHECKPOINT_THERE);
    assert_int_equal(keep("1", 5, 2), CHECKPOINT_FORK);
    assert_int_equal(keep("1", 4, 1), CHECKPOINT_FORK);
    assert_int_equal(keep("1", 8, 2), CHECKPOINT_KEPT);
    assert_int_equal(keep("a-b", 6, 3), CHECKPOINT_KEPT); /* a restore says so */
    assert_int_equal(keep("1", 9, 3), CHECKPOINT_FORK);   /* … and the old one is over */
    assert_int_equal(keep_at("462012", "1", 1, 1, clock_now_ms()), CHECKPOINT_KEPT);
    assert_int_equal(checkpoints_sync(place), VRS_OK);
    assert_int_equal(pages(MINATO, -1, NULL), 3);
}

static void test_a_restart_remembers(void **state) {
    (void)state;
    char path[160];
    struct stat st;
    assert_int_equal(keep("1", 5, 1), CHECKPOINT_KEPT);
    assert_int_equal(keep("b", 7, 1), CHECKPOINT_KEPT);
    assert_int_equal(checkpoints_sync(place), VRS_OK);
    /* A line that a crash cut off. */
    (void)snprintf(path, sizeof path, "%s/" MINATO, dir);
    FILE *f = fopen(path, "ae");
    assert_non_null(f);
    assert_true(fputs("{\"municipality_code\":", f) >= 0);
    assert_int_equal(fclose(f), 0);
    again();
    assert_int_equal(keep("b", 7, 2), CHECKPOINT_FORK);
    assert_int_equal(keep("1", 6, 1), CHECKPOINT_FORK);
    assert_int_equal(keep("b", 8, 2), CHECKPOINT_KEPT);
    assert_int_equal(pages(MINATO, -1, NULL), 3);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 3 * CHECKPOINT_LINE_BYTES);
    assert_int_equal(st.st_mode & 0777, 0600);
}

/* The file has grown by two lines whose bytes never came. */
static void test_a_power_loss_leaves_zeros(void **state) {
    (void)state;
    char path[160];
    struct stat st;
    assert_int_equal(keep("1", 5, 1), CHECKPOINT_KEPT);
    assert_int_equal(keep("1", 7, 1), CHECKPOINT_KEPT);
    assert_int_equal(checkpoints_sync(place), VRS_OK);
    (void)snprintf(path, sizeof path, "%s/" MINATO, dir);
    assert_int_equal(truncate(path, 4 * CHECKPOINT_LINE_BYTES), 0);
    again();
    assert_int_equal(keep("1", 7, 2), CHECKPOINT_FORK);
    assert_int_equal(keep("1", 8, 2), CHECKPOINT_KEPT);
    assert_int_equal(pages(MINATO, -1, NULL), 3);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 3 * CHECKPOINT_LINE_BYTES);
}

static void test_pages_go_on(void **state) {
    (void)state;
    int64_t begin = clock_now_ms();
    struct buffer b;
    bool more;
    for (uint64_t i = 1; i <= CHECKPOINT_PAGE + 10; i++)
        assert_int_equal(keep_at(MINATO, "1", i, 1, begin + (int64_t)i * 1000), CHECKPOINT_KEPT);
    assert_int_equal(pages(MINATO, 0, &more), CHECKPOINT_PAGE);
    assert_true(more);
    assert_int_equal(pages(MINATO, begin + CHECKPOINT_PAGE * 1000, &more), 10);
    assert_false(more);
    assert_int_equal(pages(MINATO, -1, &more), CHECKPOINT_PAGE); /* the newest ones */
    assert_false(more);
    assert_int_equal(pages(MINATO, begin + 3600000, &more), 0);
    buffer_init(&b, 4096);
    assert_int_equal(checkpoints_read(place, "999999", -1, &b), ERR_NOT_FOUND);
    assert_int_equal(checkpoints_read(place, "../etc", -1, &b), ERR_NOT_FOUND);
    buffer_fini(&b);
}

static void test_old_ones_are_thinned_to_hours(void **state) {
    (void)state;
    int64_t hour = (clock_now_ms() - 10 * 24 * HOUR_MS) / HOUR_MS * HOUR_MS;
    int64_t ancient = clock_now_ms() - INT64_C(3000) * 24 * HOUR_MS;
    assert_int_equal(keep_at(MINATO, "1", 1, 1, ancient), CHECKPOINT_KEPT);
    for (uint64_t i = 0; i < 120; i++) /* two hours, ten days ago */
        assert_int_equal(keep_at(MINATO, "1", 2 + i, 1, hour + (int64_t)i * 60000),
                         CHECKPOINT_KEPT);
    for (uint64_t i = 0; i < 5; i++) /* and now */
        assert_int_equal(keep_at(MINATO, "1", 200 + i, 1, clock_now_ms()), CHECKPOINT_KEPT);
    assert_int_equal(checkpoints_sync(place), VRS_OK);
    assert_int_equal(pages(MINATO, -1, NULL), 126);
    again();
    assert_int_equal(keep("1", 300, 1), CHECKPOINT_KEPT); /* touched: looked through */
    assert_int_equal(pages(MINATO, -1, NULL), 2 + 5 + 1);
    assert_int_equal(pages(MINATO, hour + 59 * 60000, NULL), 7);
    assert_int_equal(keep("1", 299, 1), CHECKPOINT_FORK);
    assert_int_equal(checkpoints_sync(place), VRS_OK);
}

int main(void) {
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_contradictions_are_forks),      TEST(test_a_restart_remembers),
        TEST(test_a_power_loss_leaves_zeros),     TEST(test_pages_go_on),
        TEST(test_old_ones_are_thinned_to_hours),
    };
    log_init("test_checkpoints", LOG_ERROR + 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
