/* Signing the allow-list: done by whoever holds its key, on any machine. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "vrs-server/inquiries/allow_list.h"
#include "vrs-server/vrsctl/vrsctl.h"

static bool read_key(const char *path, struct secret_key *out) {
    char hex[2 * sizeof out->bytes + 1] = "";
    struct stat st;
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return false;
    bool ok = fstat(fileno(f), &st) == 0 && (st.st_mode & 077) == 0 &&
              fread(hex, 1, sizeof hex - 1, f) == sizeof hex - 1 &&
              crypto_unhex(hex, out->bytes, sizeof out->bytes);
    (void)fclose(f);
    secret_wipe(hex, sizeof hex);
    return ok;
}

int vrsctl_allow_list_sign(const char *file, const char *key_file) {
    struct secret_key key;
    struct buffer text, out;
    struct vrs_fault fault = {0};
    char part[8192];
    size_t n;
    if (!read_key(key_file, &key)) {
        (void)fprintf(stderr, "vrsctl: %s must hold 64 hex digits and be 0600\n", key_file);
        return 1;
    }
    buffer_init(&text, ALLOW_LIST_MAX_BYTES);
    buffer_init(&out, 2 * ALLOW_LIST_MAX_BYTES);
    FILE *f = fopen(file, "re");
    while (f != NULL && (n = fread(part, 1, sizeof part, f)) > 0)
        (void)buffer_put(&text, part, n);
    bool ok = f != NULL && ferror(f) == 0 && !text.failed &&
              allow_list_sign(text.data, text.len, &key, &out, &fault) == VRS_OK;
    if (f != NULL)
        (void)fclose(f);
    if (ok)
        ok = fwrite(out.data, 1, out.len, stdout) == out.len && fputc('\n', stdout) != EOF &&
             fflush(stdout) == 0;
    else
        (void)fprintf(stderr, "vrsctl: %s: %s\n", file,
                      fault.text[0] != '\0' ? fault.text : "cannot be read");
    secret_wipe(&key, sizeof key);
    buffer_fini(&text);
    buffer_fini(&out);
    return ok ? 0 : 1;
}
