#include "lib/config.h"

#include <ctype.h>
#include <errno.h>
#include <libconfig.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib/version.h"

static void *at(void *out, const struct config_key *k) {
    return (char *)out + k->offset;
}

static const struct config_key *find_key(const struct config_key *keys, const char *name) {
    for (const struct config_key *k = keys; k->name != NULL; k++)
        if (strcmp(k->name, name) == 0)
            return k;
    return NULL;
}

static enum vrs_err set_str(const struct config_key *k, const char *text, void *out) {
    char **target = at(out, k);
    char *copy = strdup(text);
    if (copy == NULL)
        return ERR_MEMORY;
    free(*target);
    *target = copy;
    return VRS_OK;
}

static enum vrs_err set_int(const struct config_key *k, int64_t v, void *out) {
    if (v < k->min || v > k->max)
        return ERR_CONFIG;
    *(int64_t *)at(out, k) = v;
    return VRS_OK;
}

/* The table's own defaults go the same way as values of a file, so that a bad one is seen. */
static enum vrs_err set_default(const struct config_key *k, void *out) {
    switch (k->type) {
    case CONFIG_STR:
        return set_str(k, k->default_text, out);
    case CONFIG_INT: {
        char *end = NULL;
        int64_t v = strtoll(k->default_text, &end, 10);
        return *end == '\0' && end != k->default_text ? set_int(k, v, out) : ERR_CONFIG;
    }
    case CONFIG_BOOL:
        *(bool *)at(out, k) = strcmp(k->default_text, "true") == 0;
        return VRS_OK;
    }
    return ERR_CONFIG;
}

/* The end of a long path, so that line and message fit behind it. */
static const char *shown(const char *path) {
    size_t n = strlen(path), most = 72;
    return n > most ? path + (n - most) : path;
}

#define refuse(fault, path, line, ...)                                                             \
    refuse_at((fault), __FILE__, __LINE__, (path), (line), __VA_ARGS__)

static enum vrs_err refuse_at(struct vrs_fault *fault, const char *file, int source_line,
                              const char *path, int line, const char *what, const char *name) {
    return err_fail_at(fault, ERR_CONFIG, file, source_line, "%s:%d: %s%s%.48s", shown(path), line,
                       what, name == NULL ? "" : ": ", name == NULL ? "" : name);
}

static enum vrs_err take(const char *path, const struct config_key *k, const config_setting_t *s,
                         void *out, struct vrs_fault *fault) {
    int line = (int)config_setting_source_line(s);
    int type = config_setting_type(s);
    enum vrs_err e = VRS_OK;
    switch (k->type) {
    case CONFIG_STR:
        if (type != CONFIG_TYPE_STRING)
            return refuse(fault, path, line, "text in double quotes is needed", k->name);
        e = set_str(k, config_setting_get_string(s), out);
        return e == VRS_OK ? e : err_fail(fault, e, "configuration");
    case CONFIG_INT:
        if (type != CONFIG_TYPE_INT && type != CONFIG_TYPE_INT64)
            return refuse(fault, path, line, "a whole number is needed", k->name);
        if (set_int(k, config_setting_get_int64(s), out) != VRS_OK)
            return err_fail(fault, ERR_CONFIG, "%s:%d: must be %lld to %lld: %.40s", shown(path),
                            line, (long long)k->min, (long long)k->max, k->name);
        return VRS_OK;
    case CONFIG_BOOL:
        if (type != CONFIG_TYPE_BOOL)
            return refuse(fault, path, line, "true or false is needed", k->name);
        *(bool *)at(out, k) = config_setting_get_bool(s) != 0;
        return VRS_OK;
    }
    return err_fail(fault, ERR_INTERNAL, "type of key %s", k->name);
}

static enum vrs_err take_all(const char *path, const config_t *c, const struct config_key *keys,
                             void *out, struct vrs_fault *fault) {
    const config_setting_t *root = config_root_setting(c);
    int n = config_setting_length(root);
    for (int i = 0; i < n; i++) {
        const config_setting_t *s = config_setting_get_elem(root, (unsigned)i);
        const char *name = config_setting_name(s);
        const struct config_key *k = find_key(keys, name);
        if (k == NULL)
            return refuse(fault, path, (int)config_setting_source_line(s), "unknown key", name);
        enum vrs_err e = take(path, k, s, out, fault);
        if (e != VRS_OK)
            return e;
    }
    for (const struct config_key *k = keys; k->name != NULL; k++) {
        if (config_setting_get_member(root, k->name) != NULL)
            continue;
        if (k->default_text == NULL)
            return refuse(fault, path, 1, "missing key", k->name);
        if (set_default(k, out) != VRS_OK)
            return err_fail(fault, ERR_INTERNAL, "default of key %s", k->name);
    }
    return VRS_OK;
}

enum { MAX_BYTES = 65536 };

/* NULL when it cannot be read, is too large or holds a NUL; the caller frees it. */
static char *read_file(const char *path) {
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return NULL;
    char *text = calloc(1, MAX_BYTES + 1);
    if (text == NULL) {
        (void)fclose(f);
        return NULL;
    }
    size_t n = fread(text, 1, MAX_BYTES + 1, f);
    bool bad = ferror(f) != 0 || n > MAX_BYTES || memchr(text, 0, n) != NULL;
    (void)fclose(f);
    if (bad) {
        free(text);
        return NULL;
    }
    return text;
}

/* libconfig 1.5 silently cuts a number that 32 bits do not hold and that lacks an L at its end, so
 * that 4294967301 would be 5.  Such numbers are looked for before it reads the text; so are
 * includes, of which the line numbers would tell nothing. */
static enum vrs_err check_text(const char *path, const char *text, struct vrs_fault *fault) {
    int line = 1;
    for (const char *p = text; *p != '\0';) {
        if (*p == '"') {
            for (p++; *p != '\0' && *p != '"'; p++) {
                line += *p == '\n';
                if (*p == '\\' && p[1] != '\0')
                    p++;
            }
            p += *p == '"';
        } else if (*p == '#' || (*p == '/' && p[1] == '/')) {
            p += strcspn(p, "\n");
        } else if (*p == '/' && p[1] == '*') {
            const char *end = strstr(p + 2, "*/");
            for (end = end == NULL ? p + strlen(p) : end + 2; p < end; p++)
                line += *p == '\n';
        } else if (*p == '@') {
            return refuse(fault, path, line, "includes are not allowed", NULL);
        } else if (isdigit((unsigned char)*p)) {
            bool hex = *p == '0' && (p[1] == 'x' || p[1] == 'X');
            char *end = NULL;
            errno = 0;
            long long v = strtoll(p, &end, hex ? 16 : 10);
            if (errno == ERANGE || (v > INT_MAX && *end != 'L'))
                return refuse(fault, path, line, "number too large (above 2147483647: add an L)",
                              NULL);
            p = end;
        } else if (isalpha((unsigned char)*p)) {
            while (isalnum((unsigned char)*p) || *p == '_' || *p == '-' || *p == '*')
                p++;
        } else {
            line += *p++ == '\n';
        }
    }
    return VRS_OK;
}

enum vrs_err config_load(const char *path, const struct config_key *keys, void *out,
                         struct vrs_fault *fault) {
    for (const struct config_key *k = keys; k->name != NULL; k++)
        if (k->type == CONFIG_STR)
            *(char **)at(out, k) = NULL;
    char *text = read_file(path);
    if (text == NULL)
        return refuse(fault, path, 0, "cannot be read", NULL);
    enum vrs_err e = check_text(path, text, fault);
    if (e == VRS_OK) {
        config_t c;
        config_init(&c);
        if (config_read_string(&c, text) == CONFIG_TRUE)
            e = take_all(path, &c, keys, out, fault);
        else
            e = refuse(fault, path, config_error_line(&c), config_error_text(&c), NULL);
        config_destroy(&c);
    }
    explicit_bzero(text, strlen(text));
    free(text);
    if (e != VRS_OK)
        config_free(keys, out);
    return e;
}

void config_free(const struct config_key *keys, void *out) {
    for (const struct config_key *k = keys; k->name != NULL; k++) {
        if (k->type == CONFIG_STR) {
            char **target = at(out, k);
            free(*target);
            *target = NULL;
        }
    }
}

static void print_text(FILE *f, const char *s) {
    (void)fputc('"', f);
    for (; *s != '\0'; s++) {
        unsigned char c = (unsigned char)*s;
        if (c == '"' || c == '\\')
            (void)fprintf(f, "\\%c", c);
        else if (c < 0x20)
            (void)fprintf(f, "\\x%02x", c);
        else
            (void)fputc(c, f);
    }
    (void)fputc('"', f);
}

void config_print(FILE *f, const struct config_key *keys, const void *conf) {
    for (const struct config_key *k = keys; k->name != NULL; k++) {
        const char *p = (const char *)conf + k->offset;
        (void)fprintf(f, "# %s%s\n%s = ", k->help, k->default_text == NULL ? " (required)" : "",
                      k->name);
        switch (k->type) {
        case CONFIG_STR:
            print_text(f, *(char *const *)p == NULL ? "" : *(char *const *)p);
            (void)fputs(";\n", f);
            break;
        case CONFIG_INT: {
            int64_t v = *(const int64_t *)p;
            (void)fprintf(f, "%lld%s;\n", (long long)v, v > INT_MAX || v < INT_MIN ? "L" : "");
            break;
        }
        case CONFIG_BOOL:
            (void)fprintf(f, "%s;\n", *(const bool *)p ? "true" : "false");
            break;
        }
    }
}

static int usage(const char *program, const struct config_key *keys) {
    (void)fprintf(stderr,
                  "usage: %s --config FILE [--check | --print-config] | --version\n\nkeys:\n",
                  program);
    for (const struct config_key *k = keys; k->name != NULL; k++)
        (void)fprintf(stderr, "  %-28s %s%s%s\n", k->name, k->help,
                      k->default_text == NULL ? " (required)" : "; default ",
                      k->default_text == NULL      ? ""
                      : k->default_text[0] == '\0' ? "empty"
                                                   : k->default_text);
    return 2;
}

static const void *value_of(const struct config_key *keys, const void *conf, const char *name) {
    for (const struct config_key *k = keys; k->name != NULL; k++) {
        if (strcmp(k->name, name) == 0)
            return (const char *)conf + k->offset;
    }
    return NULL;
}

static bool is_text(const void *value, const char *text) {
    const char *const *s = value;
    return s != NULL && *s != NULL && (text == NULL ? **s != '\0' : strcmp(*s, text) == 0);
}

/* What tests and demonstrations may and production may not; said by --check, too (C146). */
static enum vrs_err check_production(const char *path, const struct config_key *keys,
                                     const void *conf, struct vrs_fault *fault) {
    const bool *development = value_of(keys, conf, "development");
    const bool *dumpable = value_of(keys, conf, "dumpable");
    if (development == NULL || *development)
        return VRS_OK;
    if (is_text(value_of(keys, conf, "clock_file"), NULL))
        return err_fail(fault, ERR_CONFIG, "%s: clock_file is for development only", path);
    if (is_text(value_of(keys, conf, "kek_source"), "file"))
        return err_fail(fault, ERR_CONFIG, "%s: kek_source file is for development only", path);
    if (dumpable != NULL && *dumpable)
        return err_fail(fault, ERR_CONFIG, "%s: dumpable is for development only", path);
    return VRS_OK;
}

int config_main(int argc, char **argv, const struct config_key *keys, void *out) {
    const char *path = NULL;
    bool check = false, print = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--config") == 0 && i + 1 < argc)
            path = argv[++i];
        else if (strcmp(argv[i], "--check") == 0)
            check = true;
        else if (strcmp(argv[i], "--print-config") == 0)
            print = true;
        else if (strcmp(argv[i], "--version") == 0) {
            version_print(stdout, argv[0]);
            return 0;
        } else
            return usage(argv[0], keys);
    }
    if (path == NULL || (check && print))
        return usage(argv[0], keys);
    struct vrs_fault fault = {0};
    enum vrs_err e = config_load(path, keys, out, &fault);
    if (e == VRS_OK && (e = check_production(path, keys, out, &fault)) != VRS_OK)
        config_free(keys, out);
    if (e != VRS_OK) {
        (void)fprintf(stderr, "%s\n", fault.text);
        return 1;
    }
    if (!check && !print)
        return -1;
    if (print)
        config_print(stdout, keys, out);
    config_free(keys, out);
    return 0;
}
