#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/wait.h>
#include <unistd.h>

#include "lib/config.h"

/* libconfig 1.5 frees no text that stands before a syntax error. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:strbuf_append\nleak:libconfig_yylex\n";
}

struct conf {
    char *listen;
    char *name;
    int64_t limit;
    int64_t big;
    bool strict;
};

static const struct config_key keys[] = {
    {"listen", CONFIG_STR, offsetof(struct conf, listen), NULL, 0, 0, "address:port"},
    {"name", CONFIG_STR, offsetof(struct conf, name), "no name", 0, 0, "shown to people"},
    {"limit", CONFIG_INT, offsetof(struct conf, limit), "10", 1, 100, "requests a second"},
    {"big", CONFIG_INT, offsetof(struct conf, big), "5000000000", 0, INT64_MAX, "bytes"},
    {"strict", CONFIG_BOOL, offsetof(struct conf, strict), "true", 0, 0, "refuse the rest"},
    {0},
};

static char path[] = "/tmp/vrs-config-XXXXXX";

static void write_conf(const char *text) {
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void values_and_defaults(void **state) {
    (void)state;
    write_conf("# a comment\nlisten = \"127.0.0.1:8443\";\nlimit = 7\nstrict = false;\n");
    struct conf c;
    struct vrs_fault fault;
    assert_int_equal(config_load(path, keys, &c, &fault), VRS_OK);
    assert_string_equal(c.listen, "127.0.0.1:8443");
    assert_string_equal(c.name, "no name");
    assert_int_equal(c.limit, 7);
    assert_int_equal(c.big, 5000000000);
    assert_false(c.strict);
    config_free(keys, &c);
    assert_null(c.listen);
    config_free(keys, &c);
}

static void refusals_name_file_and_line(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int line;
        const char *says;
    } bad[] = {
        {"listen = \"a\";\n\nlimits = 3;\n", 3, "unknown key: limits"},
        {"listen = \"a\";\nlisten = \"b\";\n", 2, "duplicate"},
        {"limit = 3;\n", 1, "missing key: listen"},
        {"", 1, "missing key: listen"},
        {"listen = 3;\n", 1, "double quotes is needed: listen"},
        {"listen = \"a\";\nlimit = \"3\";\n", 2, "whole number is needed: limit"},
        {"listen = \"a\";\nlimit = 3.5;\n", 2, "whole number is needed: limit"},
        {"listen = \"a\";\nlimit = 0;\n", 2, "must be 1 to 100: limit"},
        {"listen = \"a\";\nlimit = 101;\n", 2, "must be 1 to 100: limit"},
        {"listen = \"a\";\nlimit = -5;\n", 2, "must be 1 to 100: limit"},
        {"listen = \"a\";\nstrict = 1;\n", 2, "true or false is needed: strict"},
        {"listen = \"a\";\nlimit = { a = 1; };\n", 2, "whole number is needed: limit"},
        {"listen = \"a\";\nextra : { limit = 1; };\n", 2, "unknown key: extra"},
        {"listen = \"a\";\nlimit = ;\n", 2, "syntax error"},
        {"listen = \"a\";\n/* 1\n2 */ # x\n@include \"b\"\n", 4, "includes"},
        {"listen \"a\";\n", 1, "syntax error"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        write_conf(bad[i].text);
        struct conf c;
        struct vrs_fault fault;
        char place[64];
        (void)snprintf(place, sizeof place, "%s:%d: ", path, bad[i].line);
        bool refused = config_load(path, keys, &c, &fault) == ERR_CONFIG;
        bool placed = strncmp(fault.text, place, strlen(place)) == 0;
        if (!refused || !placed || strstr(fault.text, bad[i].says) == NULL)
            fail_msg("%s: %s", bad[i].text, fault.text);
        assert_null(c.listen);
    }
    struct conf c;
    struct vrs_fault fault;
    assert_int_equal(config_load("/nonexistent/x.conf", keys, &c, &fault), ERR_CONFIG);
    assert_string_equal(fault.text, "/nonexistent/x.conf:0: cannot be read");
}

/* Numbers that 32 bits do not hold must not be cut to one that is in range: 2^32 + 5 is not 5. */
static void large_numbers_are_not_cut(void **state) {
    (void)state;
    struct conf c;
    struct vrs_fault fault;
    write_conf("listen = \"a\";\nlimit = 4294967301;\n");
    assert_int_equal(config_load(path, keys, &c, &fault), ERR_CONFIG);
    write_conf("listen = \"a\";\nbig = 6000000000L;\n");
    assert_int_equal(config_load(path, keys, &c, &fault), VRS_OK);
    assert_int_equal(c.big, 6000000000);
    config_free(keys, &c);
    static const char *const bad[] = {"99999999999999999999", "99999999999999999999L", "2147483648",
                                      "-4294967291", "0x100000005"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char text[100];
        (void)snprintf(text, sizeof text, "listen = \"4294967301 @\";\n\nbig = %s;\n", bad[i]);
        write_conf(text);
        if (config_load(path, keys, &c, &fault) != ERR_CONFIG ||
            strstr(fault.text, ":3: number too large") == NULL)
            fail_msg("%s: %s", bad[i], fault.text);
    }
    write_conf("listen = \"4294967301 @ \\\"\";\nbig = 0x7fffffff; /* 99999999999999 */\n");
    assert_int_equal(config_load(path, keys, &c, &fault), VRS_OK);
    assert_int_equal(c.big, 2147483647);
    config_free(keys, &c);
}

static void what_is_printed_can_be_read(void **state) {
    (void)state;
    write_conf("listen = \"a \\\"b\\\" \\\\ \\x07 日本\";\nbig = 6000000000L;\nstrict = false;\n");
    struct conf c, again;
    struct vrs_fault fault;
    assert_int_equal(config_load(path, keys, &c, &fault), VRS_OK);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    config_print(f, keys, &c);
    assert_int_equal(fclose(f), 0);
    if (config_load(path, keys, &again, &fault) != VRS_OK)
        fail_msg("%s", fault.text);
    assert_string_equal(c.listen, again.listen);
    assert_string_equal(c.name, again.name);
    assert_true(c.limit == again.limit && c.big == again.big && c.strict == again.strict);
    config_free(keys, &c);
    config_free(keys, &again);
}

/* Runs config_main in a child with its output thrown away; -1 = go on. */
static int main_says(int argc, char **argv) {
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (freopen("/dev/null", "we", stdout) == NULL ||
            freopen("/dev/null", "we", stderr) == NULL)
            _exit(99);
        struct conf c = {0};
        int status = config_main(argc, argv, keys, &c);
        config_free(keys, &c);
        _exit(status == -1 ? 77 : status);
    }
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status) == 77 ? -1 : WEXITSTATUS(status);
}

#define MAIN_SAYS(...)                                                                             \
    main_says((int)(sizeof((char *[]){"prog", __VA_ARGS__}) / sizeof(char *)),                     \
              (char *[]){"prog", __VA_ARGS__, NULL})

static void the_command_line(void **state) {
    (void)state;
    write_conf("listen = \"a\";\n");
    assert_int_equal(MAIN_SAYS("--config", path), -1);
    assert_int_equal(MAIN_SAYS("--config", path, "--check"), 0);
    assert_int_equal(MAIN_SAYS("--print-config", "--config", path), 0);
    assert_int_equal(MAIN_SAYS("--check"), 2);
    assert_int_equal(MAIN_SAYS("--config"), 2);
    assert_int_equal(MAIN_SAYS("--config", path, "--verbose"), 2);
    assert_int_equal(MAIN_SAYS("--config", path, "--check", "--print-config"), 2);
    write_conf("listen = 1;\n");
    assert_int_equal(MAIN_SAYS("--config", path, "--check"), 1);
    assert_int_equal(MAIN_SAYS("--config", path), 1);
}

int main(void) {
    int fd = mkstemp(path);
    if (fd < 0 || close(fd) != 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_defaults),       cmocka_unit_test(refusals_name_file_and_line),
        cmocka_unit_test(large_numbers_are_not_cut), cmocka_unit_test(what_is_printed_can_be_read),
        cmocka_unit_test(the_command_line),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    return unlink(path) != 0 ? 1 : failed;
}
