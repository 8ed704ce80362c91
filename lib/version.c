#include "lib/version.h"

#include <gnu/libc-version.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Weak: a library that a program does not use is not linked for our sake, and its name is NULL. */
extern const char *OpenSSL_version(int type) __attribute__((weak));
extern const char *sqlite3_libversion(void) __attribute__((weak));
extern const char *event_get_version(void) __attribute__((weak));
extern char *curl_version(void) __attribute__((weak));
extern const char *jansson_version_str(void) __attribute__((weak));

static const char *openssl(void) {
    return OpenSSL_version != NULL ? OpenSSL_version(0) : NULL;
}
static const char *sqlite(void) {
    return sqlite3_libversion != NULL ? sqlite3_libversion() : NULL;
}
static const char *libevent(void) {
    return event_get_version != NULL ? event_get_version() : NULL;
}
static const char *curl(void) {
    return curl_version != NULL ? curl_version() : NULL;
}
static const char *jansson(void) {
    return jansson_version_str != NULL ? jansson_version_str() : NULL;
}

/* By the beginning of the file's name; those that cannot say their version are named all the same. */
static const struct {
    const char *file;
    const char *(*version)(void);
} known[] = {
    {"libc.so", gnu_get_libc_version}, {"libssl.so", openssl},  {"libcrypto.so", openssl},
    {"libsqlite3.so", sqlite},         {"libevent-", libevent}, {"libevent_openssl-", libevent},
    {"libevent_pthreads-", libevent},  {"libcurl.so", curl},    {"libjansson.so", jansson},
};

static int print_one(struct dl_phdr_info *info, size_t size, void *arg) {
    FILE *f = arg;
    (void)size;
    const char *name = strrchr(info->dlpi_name, '/');
    if (name == NULL) /* the program itself, the kernel's page */
        return 0;
    const char *version = NULL;
    for (size_t i = 0; i < sizeof known / sizeof *known && version == NULL; i++) {
        if (strncmp(name + 1, known[i].file, strlen(known[i].file)) == 0)
            version = known[i].version();
    }
    (void)fprintf(f, "%s\t%s\t%s\n", name + 1, version != NULL ? version : "-", info->dlpi_name);
    return 0;
}

void version_print(FILE *f, const char *program) {
    const char *slash = strrchr(program, '/');
    (void)fprintf(f, "%s\n", slash != NULL ? slash + 1 : program);
    (void)dl_iterate_phdr(print_one, f);
}
