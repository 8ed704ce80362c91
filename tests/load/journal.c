#include "tests/load/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct journal {
    int fd;
};

enum vrs_err journal_open(const char *path, struct journal **out, struct vrs_fault *fault) {
    struct journal *j = calloc(1, sizeof *j);
    *out = j;
    if (j == NULL)
        return err_fail(fault, ERR_MEMORY, "journal");
    j->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (j->fd >= 0)
        return VRS_OK;
    free(j);
    *out = NULL;
    return err_fail(fault, ERR_STORAGE, "cannot open %s", path);
}

void journal_close(struct journal **j) {
    if (*j == NULL)
        return;
    (void)close((*j)->fd);
    free(*j);
    *j = NULL;
}

enum vrs_err journal_add(struct journal *j, const struct journal_entry *e) {
    char row[256];
    int n = snprintf(row, sizeof row, "%s %s %s %d %s %s\n", e->key, e->receipt, e->outcome,
                     e->status, e->line, e->day);
    return write(j->fd, row, (size_t)n) == n ? VRS_OK : ERR_STORAGE;
}

static bool read_row(const char *row, struct journal_entry *e) {
    return sscanf(row, "%36s %64s %31s %d %18s %10s", e->key, e->receipt, e->outcome, &e->status,
                  e->line, e->day) == 6;
}

enum vrs_err journal_read(const char *path, struct journal_entry **out, size_t *count,
                          struct vrs_fault *fault) {
    FILE *f = fopen(path, "re");
    char row[256];
    size_t cap = 0;
    enum vrs_err e = VRS_OK;
    *out = NULL;
    *count = 0;
    if (f == NULL)
        return err_fail(fault, ERR_STORAGE, "cannot open %s", path);
    while (e == VRS_OK && fgets(row, sizeof row, f) != NULL) {
        if (strchr(row, '\n') == NULL)
            break;
        if (*count == cap) {
            cap = cap == 0 ? 4096 : 2 * cap;
            struct journal_entry *grown = realloc(*out, cap * sizeof *grown);
            if (grown == NULL) {
                e = err_fail(fault, ERR_MEMORY, "journal");
                break;
            }
            *out = grown;
        }
        if (!read_row(row, &(*out)[*count]))
            e = err_fail(fault, ERR_CORRUPT, "%s: row %zu", path, *count + 1);
        else
            (*count)++;
    }
    (void)fclose(f);
    if (e != VRS_OK) {
        free(*out);
        *out = NULL;
        *count = 0;
    }
    return e;
}
