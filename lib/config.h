/* Configuration by libconfig with one table of keys a program: an unknown key, a bad value or a
 * duplicate refuses the start and names file and line; the same table prints the configuration and
 * is the documentation. */
#ifndef VRS_LIB_CONFIG_H
#define VRS_LIB_CONFIG_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "lib/err.h"

enum config_type { CONFIG_STR, CONFIG_INT, CONFIG_BOOL };

/* Offsets into the caller's struct: CONFIG_STR → char *, owned, freed by config_free;
 * CONFIG_INT → int64_t; CONFIG_BOOL → bool. */
struct config_key {
    const char *name;
    enum config_type type;
    size_t offset;
    const char *default_text; /* NULL: the key is required */
    int64_t min, max;         /* CONFIG_INT */
    const char *help;         /* unit and meaning, English, one line */
};

/* Rows of a program's table; the program defines CONFIG_OF, the struct that they fill. */
// clang-format off
#define STR(name, def, help) {#name, CONFIG_STR, offsetof(CONFIG_OF, name), def, 0, 0, help}
#define INT(name, def, lo, hi, help) {#name, CONFIG_INT, offsetof(CONFIG_OF, name), def, lo, hi, help}
#define FLAG(name, def, help) {#name, CONFIG_BOOL, offsetof(CONFIG_OF, name), def, 0, 0, help}
// clang-format on

/* `keys` ends with a zeroed entry.  On error the fault text holds "file:line: what to do". */
VRS_CHECK enum vrs_err config_load(const char *path, const struct config_key *keys, void *out,
                                   struct vrs_fault *fault);
void config_free(const struct config_key *keys, void *out);
void config_print(FILE *f, const struct config_key *keys, const void *conf);
/* The common command line of a daemon: --config FILE [--check | --print-config], or
 * --version.  What is for development only refuses a production configuration.  Returns -1 to go on with *out filled, or an exit status. */
int config_main(int argc, char **argv, const struct config_key *keys, void *out);

#endif
