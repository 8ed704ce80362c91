// needs: vrs-server/operation/backup.c
/* Where backups may stand (C129, C130), and that what was written is what is there. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/file.h"
#include "tests/lib/stand.h"
#include "vrs-server/operation/backup.h"

static struct stand stand;
static struct vrs_fault fault;

static int set_up(void **state) {
    (void)state;
    stand_open(&stand, 0);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    stand_close(&stand);
    return 0;
}

static enum vrs_err check(bool development, char *dirs, struct buffer *warnings) {
    const struct server_config c = {
        .state_dir = stand.dir, .backup_dirs = dirs, .development = development};
    return backup_check(&c, warnings, &fault);
}

static int lines(struct buffer *b) {
    int n = 0;
    for (const char *s = buffer_cstr(b); (s = strchr(s, '\n')) != NULL; s++)
        n++;
    return n;
}

static void c130_the_device_of_the_data_is_refused(void **state) {
    (void)state;
    struct buffer w;
    char one[200], twice[420], none[] = "";
    buffer_init(&w, 4096);
    assert_int_equal(check(true, none, &w), VRS_OK); /* STATE/backup, STATE/backup-2 */
    assert_int_equal(lines(&w), 2);
    assert_int_equal(check(false, none, NULL), ERR_CONFIG);
    assert_non_null(strstr(fault.text, "device"));
    (void)snprintf(one, sizeof one, "%s/only", stand.dir);
    buffer_clear(&w);
    assert_int_equal(check(true, one, &w), VRS_OK);
    assert_int_equal(lines(&w), 2); /* alone, and on the device */
    assert_int_equal(check(false, one, NULL), ERR_CONFIG);
    (void)snprintf(twice, sizeof twice, "%s %s/", one, one);
    assert_int_equal(check(true, twice, NULL), ERR_CONFIG); /* one place under two names */
    buffer_fini(&w);
}

static void c130_other_devices_are_taken(void **state) {
    (void)state;
    struct stat here, there;
    char dirs[200], first[80], second[80];
    assert_int_equal(stat(stand.dir, &here), 0);
    if (stat("/dev/shm", &there) != 0 || here.st_dev == there.st_dev ||
        access("/dev/shm", W_OK) != 0)
        skip();
    (void)snprintf(first, sizeof first, "/dev/shm/vrs-backup-%d-a", (int)getpid());
    (void)snprintf(second, sizeof second, "/dev/shm/vrs-backup-%d-b", (int)getpid());
    (void)snprintf(dirs, sizeof dirs, "%s %s", first, second);
    assert_int_equal(check(false, dirs, NULL), VRS_OK);
    assert_int_equal(rmdir(first) | rmdir(second), 0);
}

static void put(const char *path, const char *text, const char *mode) {
    FILE *f = fopen(path, mode);
    assert_non_null(f);
    assert_int_not_equal(fputs(text, f), EOF);
    assert_int_equal(fclose(f), 0);
}

static void c129_a_copy_is_read_back(void **state) {
    (void)state;
    char from[200], to[200], absent[200];
    (void)snprintf(from, sizeof from, "%s/from", stand.dir);
    (void)snprintf(to, sizeof to, "%s/to", stand.dir);
    (void)snprintf(absent, sizeof absent, "%s/absent", stand.dir);
    put(from, "sealed", "w");
    assert_int_equal(file_copy(from, to, &fault), VRS_OK);
    assert_int_equal(file_same_content(from, to, &fault), VRS_OK);
    struct stat st;
    assert_int_equal(stat(to, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    put(to, "Sealed", "w"); /* control: one other letter, one more letter, nothing */
    assert_int_equal(file_same_content(from, to, &fault), ERR_STORAGE);
    put(to, "sealed!", "w");
    assert_int_equal(file_same_content(from, to, &fault), ERR_STORAGE);
    assert_int_equal(file_same_content(from, absent, &fault), ERR_IO);
    assert_int_equal(file_copy(absent, to, &fault), ERR_NOT_FOUND);
}

static void names_are_names(void **state) {
    (void)state;
    assert_true(backup_name_valid("2026-11-21_a.b"));
    const char *const bad[] = {"", ".x", "../x", "a/b", "a b", "\xe3\x81\x82"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(backup_name_valid(bad[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(c130_the_device_of_the_data_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(c130_other_devices_are_taken, set_up, tear_down),
        cmocka_unit_test_setup_teardown(c129_a_copy_is_read_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_are_names, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
