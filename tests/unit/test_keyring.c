#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/crypto.h"
#include "lib/wire.h"
#include "partitions/keyring.h"
#include "tests/lib/stand.h"

enum { RECORDS = 1 << KEY_RECORDS, LOG = 1 << KEY_LOG, NUMBERS = 1 << KEY_NUMBERS };

static struct stand stand;
static struct vrs_fault fault;

static int set_up(void **state) {
    (void)state;
    stand_open(&stand, RECORDS | LOG);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    stand_disk_heal();
    stand_close(&stand);
    return 0;
}

static void ok(enum vrs_err e) {
    if (e != VRS_OK)
        print_error("%s: %s\n", err_name(e), fault.text);
    assert_int_equal(e, VRS_OK);
}

static struct secret_key copy_of(const char *code, enum key_area area, enum key_purpose purpose,
                                 uint32_t *id) {
    const struct secret_key *key = NULL;
    ok(keyring_active(stand.ring, code, area, purpose, id, &key));
    const struct secret_key *same = NULL;
    ok(keyring_by_id(stand.ring, code, area, purpose, *id, &same));
    assert_memory_equal(key, same, sizeof *key);
    return *key;
}

static enum vrs_err open_again(unsigned areas) {
    keyring_close(&stand.ring);
    return keyring_open(stand.keys, &kek_file, stand.keks, areas, &stand.ring, &fault);
}

static void keys_are_made_once_and_read_back(void **state) {
    (void)state;
    static const char *const codes[] = {"131032", "462012", "000000"};
    struct secret_key keys[3][2][2];
    uint32_t ids[3][2][2];
    uint32_t none;
    const struct secret_key *key;
    assert_false(keyring_has(stand.ring, "131032"));
    assert_int_equal(keyring_active(stand.ring, "131032", KEY_RECORDS, KEY_INDEX, &none, &key),
                     ERR_NOT_FOUND);
    assert_int_equal(stand_files(stand.keys), 0); /* asking makes nothing */
    for (int c = 0; c < 3; c++) {
        ok(keyring_ensure(stand.ring, codes[c], &fault));
        ok(keyring_ensure(stand.ring, codes[c], &fault));
        assert_true(keyring_has(stand.ring, codes[c]));
        for (int a = 0; a < 2; a++) {
            for (int p = 0; p < 2; p++)
                keys[c][a][p] = copy_of(codes[c], (enum key_area)(a + 1), (enum key_purpose)(p + 1),
                                        &ids[c][a][p]);
        }
    }
    /* Twelve keys, no two alike. */
    const struct secret_key *all = &keys[0][0][0];
    for (int i = 0; i < 12; i++) {
        for (int j = 0; j < i; j++)
            assert_memory_not_equal(&all[i], &all[j], sizeof *all);
    }
    ok(open_again(RECORDS | LOG));
    for (int c = 0; c < 3; c++) {
        ok(keyring_ensure(stand.ring, codes[c], &fault));
        for (int a = 0; a < 2; a++) {
            for (int p = 0; p < 2; p++) {
                uint32_t id;
                struct secret_key key2 =
                    copy_of(codes[c], (enum key_area)(a + 1), (enum key_purpose)(p + 1), &id);
                assert_int_equal(id, ids[c][a][p]);
                assert_memory_equal(&key2, &keys[c][a][p], sizeof key2);
            }
        }
    }
    assert_int_equal(keyring_by_id(stand.ring, "131032", KEY_RECORDS, KEY_INDEX, 999, &key),
                     ERR_NOT_FOUND);
    /* An id of another area or purpose is no key of this one. */
    assert_int_equal(keyring_by_id(stand.ring, "131032", KEY_LOG, KEY_ENCRYPT, ids[0][0][0], &key),
                     ERR_NOT_FOUND);
    struct key_info info[2];
    assert_int_equal(keyring_list(stand.ring, "131032", info, 2), 4);
    assert_true(info[0].key_id > info[1].key_id);
    assert_int_equal(info[0].state, KEY_ACTIVE);
}

static void no_key_stands_in_a_file(void **state) {
    (void)state;
    ok(keyring_ensure(stand.ring, "131032", &fault));
    for (int a = KEY_RECORDS; a <= KEY_LOG; a++) {
        for (int p = KEY_ENCRYPT; p <= KEY_INDEX; p++) {
            uint32_t id;
            struct secret_key key = copy_of("131032", (enum key_area)a, (enum key_purpose)p, &id);
            assert_false(stand_holds(stand.dir, key.bytes, sizeof key.bytes));
        }
    }
    assert_true(stand_holds(stand.keys, "131032", 6)); /* control: the search finds what is there */
}

static void an_area_without_its_kek_stays_closed_and_kept(void **state) {
    (void)state;
    ok(keyring_ensure(stand.ring, "131032", &fault));
    uint32_t id;
    struct secret_key log_key = copy_of("131032", KEY_LOG, KEY_ENCRYPT, &id);
    ok(open_again(RECORDS | NUMBERS)); /* number keys are added, log keys are not touched */
    const struct secret_key *key;
    assert_int_equal(keyring_by_id(stand.ring, "131032", KEY_LOG, KEY_ENCRYPT, id, &key),
                     ERR_NOT_FOUND);
    uint32_t active;
    assert_int_equal(keyring_active(stand.ring, "131032", KEY_LOG, KEY_ENCRYPT, &active, &key),
                     ERR_NOT_FOUND);
    ok(keyring_ensure(stand.ring, "131032", &fault));
    ok(keyring_active(stand.ring, "131032", KEY_NUMBERS, KEY_INDEX, &active, &key));
    ok(open_again(RECORDS | LOG | NUMBERS));
    ok(keyring_by_id(stand.ring, "131032", KEY_LOG, KEY_ENCRYPT, id, &key));
    assert_memory_equal(key, &log_key, sizeof log_key);
    assert_int_equal(keyring_areas(stand.ring), RECORDS | LOG | NUMBERS);
}

/* ---- S4 for keys: no byte of the file may change, no file may stand for another */

static size_t read_file(const char *path, uint8_t *out, size_t cap) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(out, 1, cap, f);
    (void)fclose(f);
    return n;
}

static void write_file(const char *path, const uint8_t *p, size_t n) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    (void)fclose(f);
}

static void a_changed_key_file_is_refused(void **state) {
    (void)state;
    ok(keyring_ensure(stand.ring, "131032", &fault));
    char path[160];
    keyring_path(stand.ring, "131032", path, sizeof path);
    uint8_t whole[4096];
    uint8_t bad[4096];
    size_t n = read_file(path, whole, sizeof whole);
    for (size_t i = 0; i < n; i++) {
        memcpy(bad, whole, n);
        bad[i] ^= (uint8_t)(1 << i % 8);
        write_file(path, bad, n);
        keyring_forget(stand.ring, "131032");
        if (keyring_ensure(stand.ring, "131032", &fault) == VRS_OK)
            fail_msg("a change of byte %zu was not seen", i);
    }
    for (size_t len = 0; len < n; len++) {
        write_file(path, whole, len);
        keyring_forget(stand.ring, "131032");
        if (keyring_ensure(stand.ring, "131032", &fault) == VRS_OK)
            fail_msg("a cut at byte %zu was not seen", len);
    }
    write_file(path, whole, n);
    keyring_forget(stand.ring, "131032");
    ok(keyring_ensure(stand.ring, "131032", &fault));
}

static void a_key_file_of_another_municipality_is_refused(void **state) {
    (void)state;
    ok(keyring_ensure(stand.ring, "131032", &fault));
    char from[160];
    char to[160];
    uint8_t bytes[4096];
    keyring_path(stand.ring, "131032", from, sizeof from);
    keyring_path(stand.ring, "462012", to, sizeof to);
    size_t n = read_file(from, bytes, sizeof bytes);
    write_file(to, bytes, n);
    assert_int_equal(keyring_ensure(stand.ring, "462012", &fault), ERR_CORRUPT);
    /* And with the name in its head changed: the wrapping knows whose it is. */
    uint8_t *name = memmem(bytes, n, "131032", 6);
    assert_non_null(name);
    memcpy(name, "462012", 6);
    write_file(to, bytes, n);
    assert_int_equal(keyring_ensure(stand.ring, "462012", &fault), ERR_TAMPERED);
    assert_false(keyring_has(stand.ring, "462012"));
}

static void keys_under_another_kek_are_refused(void **state) {
    (void)state;
    ok(keyring_ensure(stand.ring, "131032", &fault));
    assert_int_equal(unlink(stand_path(&stand, "keks/kek-log")), 0);
    ok(kek_file_make(stand.keks, KEY_LOG, &fault));
    ok(open_again(RECORDS | LOG));
    assert_int_equal(keyring_ensure(stand.ring, "131032", &fault), ERR_CRYPTO);
    assert_false(keyring_has(stand.ring, "131032"));
    ok(open_again(RECORDS)); /* the other area is not touched by that */
    ok(keyring_ensure(stand.ring, "131032", &fault));
}

/* ---- KEK files */

static void a_kek_that_others_may_read_is_refused(void **state) {
    (void)state;
    const char *path = stand_path(&stand, "keks/kek-records");
    static const mode_t bad[] = {0640, 0604, 0660, 0601, 0610};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(chmod(path, bad[i]), 0);
        assert_int_equal(open_again(RECORDS), ERR_CONFIG);
    }
    assert_int_equal(chmod(path, 0400), 0);
    ok(open_again(RECORDS));
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(truncate(path, 31), 0);
    assert_int_equal(open_again(RECORDS), ERR_CONFIG);
    assert_int_equal(truncate(path, 33), 0);
    assert_int_equal(open_again(RECORDS), ERR_CONFIG);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(open_again(RECORDS), ERR_NOT_FOUND);
    assert_int_equal(symlink("kek-log", path), 0);
    assert_int_equal(open_again(RECORDS), ERR_CONFIG);
}

static void a_kek_is_never_overwritten(void **state) {
    (void)state;
    struct stat st;
    assert_int_equal(kek_file_make(stand.keks, KEY_RECORDS, &fault), ERR_CONFLICT);
    assert_int_equal(stat(stand_path(&stand, "keks/kek-records"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(st.st_size, 32);
    assert_int_equal(stat(stand.keks, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

static void a_credential_serves_as_kek(void **state) {
    (void)state;
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
    keyring_close(&stand.ring);
    assert_int_equal(keyring_open(stand.keys, &kek_credential, NULL, RECORDS, &stand.ring, &fault),
                     ERR_CONFIG);
    assert_int_equal(setenv("CREDENTIALS_DIRECTORY", stand.keks, 1), 0);
    assert_int_equal(chmod(stand_path(&stand, "keks/kek-records"), 0440), 0);
    ok(keyring_open(stand.keys, &kek_credential, NULL, RECORDS, &stand.ring, &fault));
    ok(keyring_ensure(stand.ring, "131032", &fault));
    keyring_close(&stand.ring);
    assert_int_equal(chmod(stand_path(&stand, "keks/kek-records"), 0444), 0);
    assert_int_equal(keyring_open(stand.keys, &kek_credential, NULL, RECORDS, &stand.ring, &fault),
                     ERR_CONFIG);
    assert_int_equal(unsetenv("CREDENTIALS_DIRECTORY"), 0);
}

/* ---- the disk */

static void keys_that_are_not_durable_are_not_used(void **state) {
    (void)state;
    const struct secret_key *key;
    uint32_t id;
    for (int n_th = 1; n_th <= 2; n_th++) { /* the file, the folder */
        stand_disk.fail_sync_at = n_th;
        assert_int_equal(keyring_ensure(stand.ring, "131032", &fault), ERR_STORAGE);
        assert_int_equal(stand_files(stand.keys), n_th - 1); /* no rest of the first is left */
    }
    ok(keyring_ensure(stand.ring, "131032", &fault));
    ok(keyring_active(stand.ring, "131032", KEY_RECORDS, KEY_ENCRYPT, &id, &key));
    /* A new process does not trust that the old one synced. */
    ok(open_again(RECORDS | LOG));
    stand_disk.fail_sync_at = 1;
    assert_int_equal(keyring_ensure(stand.ring, "131032", &fault), ERR_STORAGE);
    ok(keyring_ensure(stand.ring, "131032", &fault));
    struct stat st;
    char path[160];
    keyring_path(stand.ring, "131032", path, sizeof path);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_code_is_six_digits(void **state) {
    (void)state;
    static const char *const bad[] = {"", "13103", "1310321", "13103x", "../keks", "131.32"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(keyring_ensure(stand.ring, bad[i], &fault), ERR_NO_SUCH_MUNICIPALITY);
        assert_false(keyring_has(stand.ring, bad[i]));
        keyring_forget(stand.ring, bad[i]);
    }
}

static void *many_lookups(void *arg) {
    (void)arg;
    struct vrs_fault f;
    for (unsigned i = 0; i < 400; i++) {
        char code[7];
        (void)snprintf(code, sizeof code, "%06u", i % 40);
        const struct secret_key *key;
        uint32_t id;
        if (keyring_ensure(stand.ring, code, &f) != VRS_OK ||
            keyring_active(stand.ring, code, KEY_RECORDS, KEY_ENCRYPT, &id, &key) != VRS_OK)
            return (void *)1;
        uint8_t sealed[CRYPTO_SEAL_OVERHEAD + 1];
        if (crypto_seal(key, NULL, 0, "x", 1, sealed) != VRS_OK)
            return (void *)1;
        if (i % 50 == 49)
            keyring_forget(stand.ring, code); /* what others borrowed stays valid */
    }
    return NULL;
}

static void threads_share_it(void **state) {
    (void)state;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, many_lookups, NULL), 0);
    for (int i = 0; i < 4; i++) {
        void *bad;
        assert_int_equal(pthread_join(threads[i], &bad), 0);
        assert_null(bad);
    }
    assert_int_equal(stand_files(stand.keys), 40);
}

/* ---- S5: versions */

static enum key_state state_of(uint32_t key_id) {
    struct key_info info[16];
    size_t n = keyring_list(stand.ring, "131032", info, 16);
    for (size_t i = 0; i < n && i < 16; i++)
        if (info[i].key_id == key_id)
            return info[i].state;
    return 0;
}

static void a_new_version_takes_over_and_the_old_one_goes(void **state) {
    (void)state;
    const struct secret_key *key;
    uint32_t first, second, third, id;
    ok(keyring_ensure(stand.ring, "131032", &fault));
    struct secret_key old = copy_of("131032", KEY_RECORDS, KEY_ENCRYPT, &first);
    assert_int_equal(keyring_previous(stand.ring, "131032", KEY_RECORDS, KEY_ENCRYPT, &id, &key),
                     ERR_NOT_FOUND);
    ok(keyring_new_version(stand.ring, "131032", KEY_RECORDS, KEY_ENCRYPT, false, &second, &fault));
    struct secret_key new = copy_of("131032", KEY_RECORDS, KEY_ENCRYPT, &id);
    assert_true(id == second && second != first && memcmp(&new, &old, sizeof new) != 0);
    assert_true(state_of(first) == KEY_DECRYPT_ONLY && state_of(second) == KEY_ACTIVE);
    ok(keyring_previous(stand.ring, "131032", KEY_RECORDS, KEY_ENCRYPT, &id, &key));
    assert_true(id == first && memcmp(key, &old, sizeof old) == 0);
    /* One at a time, but for the log. */
    assert_int_equal(
        keyring_new_version(stand.ring, "131032", KEY_RECORDS, KEY_ENCRYPT, false, &third, &fault),
        ERR_CONFLICT);
    ok(keyring_new_version(stand.ring, "131032", KEY_LOG, KEY_ENCRYPT, true, &third, &fault));
    ok(keyring_new_version(stand.ring, "131032", KEY_LOG, KEY_ENCRYPT, true, &third, &fault));
    assert_int_equal(
        keyring_new_version(stand.ring, "131032", KEY_NUMBERS, KEY_INDEX, false, &third, &fault),
        ERR_CONFLICT);
    /* What is in use is not destroyed; what is destroyed leaves file and memory. */
    assert_int_equal(keyring_destroy(stand.ring, "131032", second, &fault), ERR_CONFLICT);
    ok(keyring_destroy(stand.ring, "131032", first, &fault));
    ok(keyring_destroy(stand.ring, "131032", first, &fault));
    assert_int_equal(key->bytes[0] | key->bytes[31], 0);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(keyring_by_id(stand.ring, "131032", KEY_RECORDS, KEY_ENCRYPT, first, &key),
                         ERR_NOT_FOUND);
        assert_int_equal(state_of(first), KEY_DESTROYED);
        ok(keyring_by_id(stand.ring, "131032", KEY_RECORDS, KEY_ENCRYPT, second, &key));
        assert_memory_equal(key, &new, sizeof new);
        ok(open_again(RECORDS | LOG));
        ok(keyring_ensure(stand.ring, "131032", &fault));
    }
}

/* Whichever write fails, there is one active key, what it wraps opens, and it can be done again. */
static void a_failing_disk_leaves_one_active_key(void **state) {
    (void)state;
    const struct secret_key *key;
    uint32_t old, id = 0;
    ok(keyring_ensure(stand.ring, "131032", &fault));
    for (int n_th = 1; n_th <= 4; n_th++) { /* two saves of file and folder */
        (void)copy_of("131032", KEY_RECORDS, KEY_ENCRYPT, &old);
        stand_disk.fail_sync_at = n_th;
        enum vrs_err e =
            keyring_new_version(stand.ring, "131032", KEY_RECORDS, KEY_ENCRYPT, false, &id, &fault);
        assert_int_equal(e, ERR_STORAGE);
        stand_disk.fail_sync_at = 0;
        ok(open_again(RECORDS | LOG));
        ok(keyring_ensure(stand.ring, "131032", &fault));
        uint32_t now;
        (void)copy_of("131032", KEY_RECORDS, KEY_ENCRYPT, &now);
        if (now == old) {
            ok(keyring_new_version(stand.ring, "131032", KEY_RECORDS, KEY_ENCRYPT, false, &now,
                                   &fault));
            assert_int_not_equal(now, old);
        }
        assert_int_equal(state_of(old), KEY_DECRYPT_ONLY);
        ok(keyring_destroy(stand.ring, "131032", old, &fault));
    }
    /* And a file that may not be durable is made so before its key is used. */
    (void)copy_of("131032", KEY_RECORDS, KEY_ENCRYPT, &old);
    stand_disk.fail_sync_at = 4;
    assert_int_equal(
        keyring_new_version(stand.ring, "131032", KEY_RECORDS, KEY_ENCRYPT, false, &id, &fault),
        ERR_STORAGE);
    stand_disk.fail_sync_at = 1;
    assert_int_equal(keyring_active(stand.ring, "131032", KEY_RECORDS, KEY_ENCRYPT, &id, &key),
                     ERR_STORAGE);
    ok(keyring_active(stand.ring, "131032", KEY_RECORDS, KEY_ENCRYPT, &id, &key));
    assert_int_not_equal(id, old);
}

/* ---- S5: KEKs */

static void new_kek(const char *name) {
    char from[160], to[160];
    (void)snprintf(from, sizeof from, "%s/%s", stand.keks, name);
    (void)snprintf(to, sizeof to, "%s/%s.previous", stand.keks, name);
    assert_int_equal(rename(from, to), 0);
}

static void key_files_move_to_a_new_kek(void **state) {
    (void)state;
    static const char *const codes[] = {"131032", "462012"};
    struct secret_key keys[2];
    uint32_t id;
    size_t wrapped;
    for (int c = 0; c < 2; c++) {
        ok(keyring_ensure(stand.ring, codes[c], &fault));
        keys[c] = copy_of(codes[c], KEY_LOG, KEY_ENCRYPT, &id);
    }
    assert_false(keyring_has_previous_kek(stand.ring));
    new_kek("kek-log");
    ok(kek_file_make(stand.keks, KEY_LOG, &fault));
    ok(open_again(RECORDS | LOG));
    assert_true(keyring_has_previous_kek(stand.ring));
    ok(keyring_ensure(stand.ring, codes[0], &fault)); /* both open as before */
    ok(keyring_ensure(stand.ring, codes[1], &fault));
    assert_int_equal(keyring_under_previous(stand.ring, codes[0]), 2);
    /* The disk fails: the file that is there still opens. */
    stand_disk.fail_sync_at = 1;
    assert_int_equal(keyring_rewrap(stand.ring, codes[0], &wrapped, &fault), ERR_STORAGE);
    assert_int_equal(keyring_under_previous(stand.ring, codes[0]), 2);
    ok(keyring_rewrap(stand.ring, codes[0], &wrapped, &fault));
    assert_int_equal(wrapped, 2);
    ok(keyring_rewrap(stand.ring, codes[0], &wrapped, &fault));
    assert_int_equal(wrapped, 0);
    assert_int_equal(keyring_under_previous(stand.ring, codes[0]), 0);
    /* It ends here and goes on at the next start. */
    ok(open_again(RECORDS | LOG));
    assert_int_equal(keyring_under_previous(stand.ring, codes[0]), 0);
    assert_int_equal(keyring_under_previous(stand.ring, codes[1]), 2);
    /* Control: the old KEK taken away too early. */
    assert_int_equal(
        rename(stand_path(&stand, "keks/kek-log.previous"), stand_path(&stand, "keks/away")), 0);
    ok(open_again(RECORDS | LOG));
    ok(keyring_ensure(stand.ring, codes[0], &fault));
    assert_int_equal(keyring_ensure(stand.ring, codes[1], &fault), ERR_CRYPTO);
    assert_int_equal(
        rename(stand_path(&stand, "keks/away"), stand_path(&stand, "keks/kek-log.previous")), 0);
    ok(open_again(RECORDS | LOG));
    ok(keyring_rewrap(stand.ring, codes[1], &wrapped, &fault));
    assert_int_equal(wrapped, 2);
    assert_int_equal(unlink(stand_path(&stand, "keks/kek-log.previous")), 0);
    ok(open_again(RECORDS | LOG));
    for (int c = 0; c < 2; c++) {
        ok(keyring_ensure(stand.ring, codes[c], &fault));
        struct secret_key same = copy_of(codes[c], KEY_LOG, KEY_ENCRYPT, &id);
        assert_memory_equal(&same, &keys[c], sizeof same);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(keys_are_made_once_and_read_back),
        TEST(no_key_stands_in_a_file),
        TEST(an_area_without_its_kek_stays_closed_and_kept),
        TEST(a_changed_key_file_is_refused),
        TEST(a_key_file_of_another_municipality_is_refused),
        TEST(keys_under_another_kek_are_refused),
        TEST(a_kek_that_others_may_read_is_refused),
        TEST(a_kek_is_never_overwritten),
        TEST(a_credential_serves_as_kek),
        TEST(keys_that_are_not_durable_are_not_used),
        TEST(a_code_is_six_digits),
        TEST(threads_share_it),
        TEST(a_new_version_takes_over_and_the_old_one_goes),
        TEST(a_failing_disk_leaves_one_active_key),
        TEST(key_files_move_to_a_new_kek),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
