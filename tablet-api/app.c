#include "tablet-api/app.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/http.h"
#include "lib/json.h"
#include "lib/tls.h"
#include "tablet-api/published.h"
#include "tablet-api/tablet.h"
#include "tablet-api/terminal.h"

/* No foreign origin, no inline script; wasm is what the readers are. */
static const char policy[] =
    "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "img-src 'self' blob: data:; media-src 'self' blob:; connect-src 'self'; style-src 'self'; "
    "object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

enum { NAME_MAX_BYTES = 72, TAG_BYTES = 16 };

struct blob {
    uint8_t *data;
    size_t len;
    char tag[2 * TAG_BYTES + 3]; /* quoted, for If-None-Match */
};

struct app_file {
    char name[NAME_MAX_BYTES];
    struct blob plain, gz; /* gz.data NULL: none */
};

struct app {
    size_t count;
    struct app_file file[APP_MAX_FILES];
};

static const struct {
    const char *end, *type;
} types[] = {{".html", "text/html; charset=utf-8"},
             {".js", "text/javascript; charset=utf-8"},
             {".css", "text/css; charset=utf-8"},
             {".wasm", "application/wasm"},
             {".webmanifest", "application/manifest+json"},
             {".png", "image/png"},
             {".svg", "image/svg+xml"},
             {".txt", "text/plain; charset=utf-8"}};

static bool ends_with(const char *s, const char *end) {
    size_t n = strlen(s), m = strlen(end);
    return n > m && strcmp(s + n - m, end) == 0;
}

static const char *type_of(const char *name) {
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (ends_with(name, types[i].end))
            return types[i].type;
    return NULL;
}

static struct app_file *find(struct app *a, const char *name) {
    for (size_t i = 0; i < a->count; i++)
        if (strcmp(a->file[i].name, name) == 0)
            return &a->file[i];
    return NULL;
}

static enum vrs_err read_blob(const char *path, struct blob *b, struct vrs_fault *fault) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    FILE *f = fopen(path, "re");
    enum vrs_err e = VRS_OK;
    if (f == NULL)
        return err_fail(fault, ERR_IO, "open %s", path);
    b->data = malloc(APP_MAX_BYTES);
    b->len = b->data != NULL ? fread(b->data, 1, APP_MAX_BYTES, f) : 0;
    if (b->data == NULL)
        e = err_fail(fault, ERR_MEMORY, "%s", path);
    else if (ferror(f) || !feof(f))
        e = err_fail(fault, ERR_IO, "%s cannot be read, or is too large", path);
    (void)fclose(f);
    if (e != VRS_OK) /* app_close frees */
        return e;
    uint8_t *fits = realloc(b->data, b->len + 1);
    if (fits != NULL)
        b->data = fits;
    crypto_sha256(b->data, b->len, hash);
    b->tag[0] = '"';
    crypto_hex(hash, TAG_BYTES, b->tag + 1);
    b->tag[2 * TAG_BYTES + 1] = '"';
    b->tag[2 * TAG_BYTES + 2] = '\0';
    return VRS_OK;
}

static enum vrs_err add(struct app *a, const char *dir, const char *name, struct vrs_fault *fault) {
    char path[4096], bare[NAME_MAX_BYTES];
    bool gz = ends_with(name, ".gz");
    if ((size_t)snprintf(bare, sizeof bare, "%s", name) >= sizeof bare)
        return err_fail(fault, ERR_CONFIG, "app_dir: %s has too long a name", name);
    if (gz)
        bare[strlen(bare) - 3] = '\0';
    if (type_of(bare) == NULL)
        return err_fail(fault, ERR_CONFIG, "app_dir: %s is of no known kind", name);
    struct app_file *f = find(a, bare);
    if (f == NULL) {
        if (a->count == APP_MAX_FILES)
            return err_fail(fault, ERR_CONFIG, "app_dir: more than %d files", APP_MAX_FILES);
        f = &a->file[a->count++];
        memcpy(f->name, bare, sizeof f->name);
    }
    (void)snprintf(path, sizeof path, "%s/%s", dir, name);
    return read_blob(path, gz ? &f->gz : &f->plain, fault);
}

enum vrs_err app_open(const char *dir, struct app **out, struct vrs_fault *fault) {
    struct app *a = calloc(1, sizeof *a);
    enum vrs_err e = VRS_OK;
    *out = a;
    if (a == NULL)
        return err_fail(fault, ERR_MEMORY, "app");
    if (dir[0] == '\0')
        return VRS_OK;
    DIR *d = opendir(dir);
    if (d == NULL)
        return err_fail(fault, ERR_CONFIG, "app_dir: cannot open %s", dir);
    for (struct dirent *x = readdir(d); x != NULL && e == VRS_OK; x = readdir(d))
        if (x->d_name[0] != '.')
            e = add(a, dir, x->d_name, fault);
    (void)closedir(d);
    for (size_t i = 0; i < a->count && e == VRS_OK; i++)
        if (a->file[i].plain.data == NULL)
            e = err_fail(fault, ERR_CONFIG, "app_dir: %s only compressed", a->file[i].name);
    if (e == VRS_OK && find(a, "index.html") == NULL)
        e = err_fail(fault, ERR_CONFIG, "app_dir: no index.html in %s", dir);
    return e;
}

void app_close(struct app **a) {
    if (*a == NULL)
        return;
    for (size_t i = 0; i < (*a)->count; i++) {
        free((*a)->file[i].plain.data);
        free((*a)->file[i].gz.data);
    }
    free(*a);
    *a = NULL;
}

static void set_headers(struct http_request *rq) {
    http_set_header(rq, "Content-Security-Policy", policy);
    http_set_header(rq, "Referrer-Policy", "no-referrer");
    http_set_header(rq, "Permissions-Policy", "camera=(self), microphone=(), geolocation=()");
    http_set_header(rq, "Cross-Origin-Opener-Policy", "same-origin");
    http_set_header(rq, "Cross-Origin-Resource-Policy", "same-origin");
}

/* "app-0123456789abcdef.js": another content would have another name. */
static bool is_hashed(const char *name) {
    const char *dash = strrchr(name, '-');
    return dash != NULL && strspn(dash + 1, "0123456789ABCDEFabcdef") == 16 && dash[17] == '.';
}

static void serve(struct http_request *rq, const char *name) {
    struct tablet *t = http_arg(rq);
    const struct app_file *f = find(t->app, name);
    if (f == NULL) {
        http_problem(rq, ERR_NOT_FOUND, NULL, NULL);
        return;
    }
    const char *accepts = http_header(rq, "Accept-Encoding");
    const char *has = http_header(rq, "If-None-Match");
    const struct blob *b = &f->plain;
    set_headers(rq);
    http_set_header(rq, "Cache-Control",
                    is_hashed(name) ? "private, max-age=31536000, immutable" : "no-cache");
    http_set_header(rq, "Vary", "Accept-Encoding");
    if (strcmp(name, "sw.js") == 0)
        http_set_header(rq, "Service-Worker-Allowed", "/");
    if (f->gz.data != NULL && accepts != NULL && strstr(accepts, "gzip") != NULL) {
        b = &f->gz;
        http_set_header(rq, "Content-Encoding", "gzip");
    }
    http_set_header(rq, "ETag", b->tag);
    if (has != NULL && strstr(has, b->tag) != NULL)
        http_reply(rq, 304, NULL, NULL, 0);
    else
        http_reply(rq, 200, type_of(name), b->data, b->len);
}

void app_index_get(struct http_request *rq) {
    serve(rq, "index.html");
}

void app_file_get(struct http_request *rq) {
    serve(rq, http_param(rq, "file"));
}

void app_state_get(struct http_request *rq) {
    const struct tablet *t = http_arg(rq);
    const struct caller *c = terminal_caller(rq);
    const struct published_terminal *at = published_terminal(t->published, c->peer->serial);
    const struct published_log_key *keys = NULL;
    size_t n = published_log_keys(t->published, &keys);
    char now[25], key[4 * ((CRYPTO_X25519_BYTES + 2) / 3) + 1];
    struct buffer b;
    clock_format_rfc3339(clock_now_ms(), now);
    crypto_base64(published_inbox_key(t->published), CRYPTO_X25519_BYTES, key);
    json_t *list = json_array();
    for (size_t i = 0; i < n && list != NULL; i++) {
        char text[4 * ((CRYPTO_ED25519_BYTES + 2) / 3) + 1];
        crypto_base64(keys[i].key, sizeof keys[i].key, text);
        (void)json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "key_id", keys[i].key_id,
                                                    "algorithm", "Ed25519", "key", text));
    }
    json_t *doc = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:o}", "now", now, "terminal",
                            c->terminal, "municipality_code", c->registered, "site",
                            at != NULL ? at->site : "", "inbox_key", key, "clock_tolerance_seconds",
                            (json_int_t)t->config.clock_tolerance_s, "log_keys", list);
    buffer_init(&b, 16384);
    if (json_write(&b, doc))
        http_reply_json(rq, 200, (const char *)b.data, b.len);
    else
        http_problem(rq, ERR_MEMORY, NULL, NULL);
    buffer_fini(&b);
    json_decref(doc);
}

bool app_refuse(struct http_request *rq, enum vrs_err e) {
    static const char page[] =
        "<!doctype html><html lang=\"ja\"><meta charset=\"utf-8\"><title>VRS</title>"
        "<meta name=\"viewport\" content=\"width=device-width\"><main><h1>%s</h1><p>%s</p>"
        "<p>通信の障害ではありません。自治体の管理者に連絡し、端末名「%s」を伝えてください。</p>"
        "</main></html>";
    const char *accept = http_header(rq, "Accept");
    const struct tls_peer *peer = http_tls_peer(rq);
    struct buffer b;
    if (strcmp(http_method(rq), "GET") != 0 || accept == NULL ||
        strstr(accept, "text/html") == NULL)
        return false;
    buffer_init(&b, 8192);
    (void)buffer_printf(&b, page,
                        e == ERR_TERMINAL_REVOKED ? "この端末は利用を停止されています"
                                                  : "この端末では利用できません",
                        err_detail_ja(e),
                        peer != NULL && strpbrk(peer->name, "<>&\"") == NULL ? peer->name : "");
    bool good = !b.failed;
    if (good) {
        set_headers(rq);
        http_reply(rq, err_status(e), "text/html; charset=utf-8", b.data, b.len);
    }
    buffer_fini(&b);
    return good;
}
