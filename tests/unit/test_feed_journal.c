// needs: ocr-ingest/feed_journal.c
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ocr-ingest/feed_journal.h"

static char folder[] = "/tmp/vrs-journal-XXXXXX";
static char path[64];
static struct vrs_fault fault;

static int make_folder(void **state) {
    (void)state;
    if (mkdtemp(folder) == NULL)
        return -1;
    (void)snprintf(path, sizeof path, "%s/journal", folder);
    return 0;
}

static int remove_folder(void **state) {
    (void)state;
    (void)unlink(path);
    return rmdir(folder);
}

static int fresh(void **state) {
    (void)state;
    (void)unlink(path);
    return 0;
}

static struct feed_journal *opened(void) {
    struct feed_journal *j = NULL;
    assert_int_equal(feed_journal_open(path, &j, &fault), VRS_OK);
    return j;
}

static enum vrs_err key_for(struct feed_journal *j, uint64_t row, const char *content,
                            char key[FEED_KEY_SIZE]) {
    return feed_journal_key(j, row, content, strlen(content), key, &fault);
}

static void keys_outlive_the_process(void **state) {
    (void)state;
    char first[FEED_KEY_SIZE];
    char again[FEED_KEY_SIZE];
    struct feed_journal *j = opened();
    assert_int_equal(key_for(j, 7, "reading", first), VRS_OK);
    assert_int_equal(strlen(first), 36);
    assert_int_equal(key_for(j, 8, "reading", again), VRS_OK);
    assert_string_not_equal(first, again); /* the same line twice is two readings */
    assert_int_equal(feed_journal_sync(j, &fault), VRS_OK);
    feed_journal_close(&j);
    assert_null(j);

    j = opened();
    assert_int_equal(feed_journal_rows(j), 8);
    assert_null(feed_journal_find(j, 6));
    assert_null(feed_journal_find(j, 1000000));
    assert_int_equal(feed_journal_find(j, 7)->state, FEED_KEYED);
    assert_int_equal(key_for(j, 7, "reading", again), VRS_OK);
    assert_string_equal(first, again);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    feed_journal_close(&j);
}

static void states_outlive_the_process(void **state) {
    (void)state;
    char key[FEED_KEY_SIZE];
    struct feed_journal *j = opened();
    for (uint64_t row = 1; row <= 5; row++)
        assert_int_equal(key_for(j, row, "x", key), VRS_OK);
    assert_int_equal(feed_journal_state(j, 1, FEED_RECORDED, NULL, "0a1b", &fault), VRS_OK);
    assert_int_equal(feed_journal_state(j, 2, FEED_REVIEW, "a_b,c d\ne", "ff", &fault), VRS_OK);
    assert_int_equal(feed_journal_state(j, 3, FEED_PENDING, "", "11", &fault), VRS_OK);
    assert_int_equal(feed_journal_state(j, 3, FEED_RECORDED, "", "11", &fault), VRS_OK);
    assert_int_equal(feed_journal_state(j, 4, FEED_REFUSED, "R112", NULL, &fault), VRS_OK);
    feed_journal_close(&j);
    j = opened();
    assert_int_equal(feed_journal_find(j, 1)->state, FEED_RECORDED);
    assert_string_equal(feed_journal_find(j, 1)->receipt, "0a1b");
    assert_null(feed_journal_find(j, 1)->code);
    assert_string_equal(feed_journal_find(j, 2)->code, "a_b,cde");
    assert_int_equal(feed_journal_find(j, 3)->state, FEED_RECORDED);
    assert_string_equal(feed_journal_find(j, 4)->code, "R112");
    assert_null(feed_journal_find(j, 4)->receipt);
    assert_int_equal(feed_journal_find(j, 5)->state, FEED_KEYED);
    feed_journal_close(&j);
}

/* J2: whatever may be stored is never sent with another content or another key. */
static void other_content(void **state) {
    (void)state;
    static const enum feed_state kept[] = {FEED_PENDING, FEED_RECORDED, FEED_DUPLICATE,
                                           FEED_REVIEW,  FEED_WAITING,  FEED_CONFLICT};
    char key[FEED_KEY_SIZE];
    char other[FEED_KEY_SIZE];
    struct feed_journal *j = opened();
    assert_int_equal(key_for(j, 1, "one", key), VRS_OK);
    assert_int_equal(key_for(j, 1, "two", other), ERR_R141);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++) {
        assert_true(feed_state_stored(kept[i]));
        assert_int_equal(feed_journal_state(j, 1, kept[i], NULL, NULL, &fault), VRS_OK);
        assert_int_equal(key_for(j, 1, "two", other), ERR_R141);
        assert_int_equal(key_for(j, 1, "one", other), VRS_OK);
        assert_string_equal(key, other);
    }
    /* What was refused is stored nowhere: sent again as it is under its key, or mended anew. */
    assert_false(feed_state_stored(FEED_REFUSED));
    assert_int_equal(feed_journal_state(j, 1, FEED_REFUSED, "R112", NULL, &fault), VRS_OK);
    assert_int_equal(key_for(j, 1, "one", other), VRS_OK);
    assert_string_equal(key, other);
    assert_int_equal(feed_journal_find(j, 1)->state, FEED_KEYED);
    assert_int_equal(key_for(j, 1, "two", other), ERR_R141); /* on its way again */
    assert_int_equal(feed_journal_state(j, 1, FEED_REFUSED, "R112", NULL, &fault), VRS_OK);
    assert_int_equal(key_for(j, 1, "two", other), VRS_OK);
    assert_string_not_equal(key, other);
    feed_journal_close(&j);
    j = opened();
    assert_int_equal(key_for(j, 1, "two", key), VRS_OK);
    assert_string_equal(key, other);
    feed_journal_close(&j);
}

static void one_run_at_a_time(void **state) {
    (void)state;
    struct feed_journal *j = opened();
    struct feed_journal *second = NULL;
    assert_int_equal(feed_journal_open(path, &second, &fault), ERR_BUSY);
    assert_null(second);
    feed_journal_close(&j);
}

static long size_of_file(void) {
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return (long)st.st_size;
}

/* Cut anywhere, the journal opens again, and knows a beginning of what was written. */
static void cut_anywhere(void **state) {
    (void)state;
    char key[12][FEED_KEY_SIZE];
    struct feed_journal *j = opened();
    for (uint64_t row = 1; row < 12; row++) {
        assert_int_equal(key_for(j, row, "x", key[row]), VRS_OK);
        if (row % 4 == 0)
            assert_int_equal(feed_journal_sync(j, &fault), VRS_OK);
    }
    feed_journal_close(&j);
    for (long size = size_of_file() - 1; size >= 0; size -= 3) {
        assert_int_equal(truncate(path, size), 0);
        j = opened();
        uint64_t rows = feed_journal_rows(j);
        for (uint64_t row = 1; row <= rows; row++)
            assert_string_equal(feed_journal_find(j, row)->key, key[row]);
        feed_journal_close(&j);
    }
}

static void damage(long at, const char *bytes) {
    FILE *f = fopen(path, "r+");
    assert_non_null(f);
    assert_int_equal(fseek(f, at, SEEK_SET), 0);
    assert_true(fputs(bytes, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void damaged_where_it_was_synced(void **state) {
    (void)state;
    char key[FEED_KEY_SIZE];
    struct feed_journal *j = opened();
    assert_int_equal(key_for(j, 1, "x", key), VRS_OK);
    assert_int_equal(feed_journal_sync(j, &fault), VRS_OK);
    long synced = size_of_file();
    assert_int_equal(key_for(j, 2, "x", key), VRS_OK);
    assert_int_equal(key_for(j, 3, "x", key), VRS_OK);
    feed_journal_close(&j);
    damage(synced + 40, "#"); /* the unsynced end: a crash may do that */
    j = opened();
    assert_int_equal(feed_journal_rows(j), 1);
    assert_int_equal(key_for(j, 2, "x", key), VRS_OK);
    feed_journal_close(&j);
    damage(synced - 20, "#");
    j = NULL;
    assert_int_equal(feed_journal_open(path, &j, &fault), ERR_CORRUPT);
    assert_null(j);
}

static void what_is_no_journal(void **state) {
    (void)state;
    static const char *const files[] = {"211310320000012345\n", "ocr-ingest-journal 2 00\n",
                                        "ocr-ingest-journal 1 00\n", "\n"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        (void)fputs(files[i], f);
        assert_int_equal(fclose(f), 0);
        struct feed_journal *j = NULL;
        assert_int_equal(feed_journal_open(path, &j, &fault), ERR_CORRUPT);
        assert_null(j);
    }
    struct feed_journal *j = NULL;
    assert_int_equal(feed_journal_open("/nonexistent/journal", &j, &fault), ERR_STORAGE);
    assert_int_equal(feed_journal_open(folder, &j, &fault), ERR_STORAGE);
}

static void holds_no_content(void **state) {
    (void)state;
    char key[FEED_KEY_SIZE];
    char text[4096];
    struct feed_journal *j = opened();
    assert_int_equal(key_for(j, 1, "{\"ocr_line\":\"211310320000012345\"}", key), VRS_OK);
    feed_journal_close(&j);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = '\0';
    (void)fclose(f);
    assert_null(strstr(text, "0000012345"));
    assert_non_null(strstr(text, key));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(keys_outlive_the_process, fresh),
        cmocka_unit_test_setup(states_outlive_the_process, fresh),
        cmocka_unit_test_setup(other_content, fresh),
        cmocka_unit_test_setup(one_run_at_a_time, fresh),
        cmocka_unit_test_setup(cut_anywhere, fresh),
        cmocka_unit_test_setup(damaged_where_it_was_synced, fresh),
        cmocka_unit_test_setup(what_is_no_journal, fresh),
        cmocka_unit_test_setup(holds_no_content, fresh),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
