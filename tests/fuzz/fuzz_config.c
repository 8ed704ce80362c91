/* Configuration files: refused with a place, or read; what was read is printed and read again to
 * the same values. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "lib/config.h"

struct conf {
    char *listen;
    char *name;
    int64_t limit;
    int64_t big;
    bool strict;
};

static const struct config_key keys[] = {
    {"listen", CONFIG_STR, offsetof(struct conf, listen), NULL, 0, 0, "address:port"},
    {"name", CONFIG_STR, offsetof(struct conf, name), "", 0, 0, "shown to people"},
    {"limit", CONFIG_INT, offsetof(struct conf, limit), "10", 1, 100, "requests a second"},
    {"big", CONFIG_INT, offsetof(struct conf, big), "0", INT64_MIN, INT64_MAX, "bytes"},
    {"strict", CONFIG_BOOL, offsetof(struct conf, strict), "true", 0, 0, "refuse the rest"},
    {0},
};

/* libconfig 1.5 frees no text that stands before a syntax error. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:strbuf_append\nleak:libconfig_yylex\n";
}

static char path[40];

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv) {
    (void)argc;
    (void)argv;
    int fd = memfd_create("conf", MFD_CLOEXEC);
    if (fd < 0)
        abort();
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return 0;
}

static FILE *rewrite(void) {
    FILE *f = fopen(path, "we");
    if (f == NULL)
        abort();
    return f;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    FILE *f = rewrite();
    if (fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
    struct conf c = {0}, again = {0};
    struct vrs_fault fault = {0};
    if (config_load(path, keys, &c, &fault) != VRS_OK) {
        if (fault.text[0] == '\0' || c.listen != NULL || c.name != NULL)
            abort();
        return 0;
    }
    if (c.limit < 1 || c.limit > 100)
        abort();
    f = rewrite();
    config_print(f, keys, &c);
    if (fclose(f) != 0 || config_load(path, keys, &again, &fault) != VRS_OK)
        abort();
    if (strcmp(c.listen, again.listen) != 0 || strcmp(c.name, again.name) != 0 ||
        c.limit != again.limit || c.big != again.big || c.strict != again.strict)
        abort();
    config_free(keys, &c);
    config_free(keys, &again);
    return 0;
}
