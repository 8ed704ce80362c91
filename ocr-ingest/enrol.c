#include "ocr-ingest/enrol.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/client.h"
#include "lib/json.h"
#include "lib/pki.h"
#include "lib/secret.h"

enum { PATH_BYTES = 4096, REPLY_MAX_BYTES = 65536, TIMEOUT_MS = 30000 };

struct options {
    bool renew;
    const char *url, *ca, *code, *out;
};

struct exchange {
    struct options o;
    char key[PATH_BYTES], cert[PATH_BYTES], authority[PATH_BYTES];
    struct event_base *base;
    int status;
};

bool enrol_named(const char *word) {
    return strcmp(word, "enrol") == 0 || strcmp(word, "renew") == 0;
}

static int usage(void) {
    (void)fputs("使い方: ocr-ingest enrol --public URL --ca FILE --code CODE|- --out DIR\n"
                "        ocr-ingest renew --url URL --ca FILE --out DIR\n"
                "  CODE は自治体の管理者が発行する一度だけ使える登録コード（- で標準入力）。\n"
                "  DIR に terminal.key（0600）、terminal.pem、authority.pem を置きます。\n",
                stderr);
    return 2;
}

static bool read_options(int argc, char **argv, struct options *o) {
    *o = (struct options){.renew = strcmp(argv[0], "renew") == 0};
    for (int i = 1; i + 1 < argc; i += 2) {
        const char *name = argv[i], *value = argv[i + 1];
        if (strcmp(name, o->renew ? "--url" : "--public") == 0)
            o->url = value;
        else if (strcmp(name, "--ca") == 0)
            o->ca = value;
        else if (strcmp(name, "--out") == 0)
            o->out = value;
        else if (strcmp(name, "--code") == 0 && !o->renew)
            o->code = value;
        else
            return false;
    }
    return argc % 2 == 1 && o->url != NULL && o->ca != NULL && o->out != NULL &&
           (o->renew || o->code != NULL);
}

/* Whole or not at all: a reader finds the old certificate or the new one. */
static bool write_file(const char *path, const char *text) {
    char temporary[PATH_BYTES + 8];
    (void)snprintf(temporary, sizeof temporary, "%s.new", path);
    FILE *f = fopen(temporary, "we");
    bool ok = f != NULL && fputs(text, f) != EOF && fflush(f) == 0 && fsync(fileno(f)) == 0;
    if (f != NULL)
        ok = fclose(f) == 0 && ok;
    ok = ok && rename(temporary, path) == 0;
    if (!ok)
        (void)fprintf(stderr, "ocr-ingest: %s: %s\n", path, strerror(errno));
    return ok;
}

static int keep(const struct exchange *x, const json_t *doc) {
    const char *cert = json_string_value(json_object_get(doc, "certificate_pem"));
    const char *ca = json_string_value(json_object_get(doc, "ca_pem"));
    const char *name = json_string_value(json_object_get(doc, "name"));
    const char *until = json_string_value(json_object_get(doc, "valid_until"));
    if (cert == NULL || ca == NULL || !write_file(x->authority, ca) || !write_file(x->cert, cert))
        return 1;
    (void)printf("%s\n%s\n", x->cert, x->key);
    (void)fprintf(stderr, "端末 %s の証明書を保存しました（有効期限 %s）。\n",
                  name != NULL ? name : "", until != NULL ? until : "");
    return 0;
}

static void answered(const struct client_reply *r, void *arg) {
    struct exchange *x = arg;
    struct vrs_fault fault = {0};
    json_t *doc = NULL;
    x->status = 1;
    if (r->err == VRS_OK && json_parse(r->body, r->len, &doc, &fault) == VRS_OK) {
        const char *code = json_string_value(json_object_get(doc, "code"));
        const char *detail = json_string_value(json_object_get(doc, "detail"));
        if (r->status == 201)
            x->status = keep(x, doc);
        else
            (void)fprintf(stderr, "ocr-ingest: %d %s %s\n", r->status, code != NULL ? code : "",
                          detail != NULL ? detail : "");
    } else {
        (void)fprintf(stderr, "ocr-ingest: %s\n",
                      err_detail_ja(r->err != VRS_OK ? r->err : ERR_PROTOCOL));
    }
    json_decref(doc);
    (void)event_base_loopbreak(x->base);
}

static enum vrs_err make_body(const struct exchange *x, struct buffer *body,
                              struct vrs_fault *fault) {
    char code[128] = "";
    struct buffer request;
    if (!x->o.renew && strcmp(x->o.code, "-") != 0)
        (void)snprintf(code, sizeof code, "%s", x->o.code);
    else if (!x->o.renew && fgets(code, sizeof code, stdin) != NULL)
        code[strcspn(code, "\r\n")] = '\0';
    buffer_init(&request, PKI_REQUEST_MAX);
    enum vrs_err e = pki_make_request(x->key, "terminal", &request, fault);
    if (e == VRS_OK) {
        json_t *doc = json_pack("{s:s}", "request_pem", buffer_cstr(&request));
        if (doc == NULL ||
            (!x->o.renew && json_object_set_new(doc, "code", json_string(code)) != 0) ||
            !json_write(body, doc))
            e = err_fail(fault, ERR_MEMORY, "request");
        json_decref(doc);
    }
    secret_wipe(code, sizeof code);
    buffer_fini(&request);
    return e;
}

static int exchange(struct exchange *x) {
    struct vrs_fault fault = {0};
    struct client *client = NULL;
    struct buffer body;
    const struct client_options to = {.base_url = x->o.url,
                                      .ca_file = x->o.ca,
                                      .cert_file = x->o.renew ? x->cert : NULL,
                                      .key_file = x->o.renew ? x->key : NULL,
                                      .max_reply_bytes = REPLY_MAX_BYTES,
                                      .max_connections = 1};
    buffer_init(&body, REPLY_MAX_BYTES);
    x->status = 1;
    x->base = event_base_new();
    enum vrs_err e = x->base != NULL ? make_body(x, &body, &fault) : ERR_MEMORY;
    if (e == VRS_OK)
        e = client_open(x->base, &to, &client, &fault);
    const struct client_call call = {.method = "POST",
                                     .path = x->o.renew ? "/v1/terminals/current:renew"
                                                        : "/v1/enrolments",
                                     .content_type = "application/json",
                                     .body = body.data,
                                     .len = body.len,
                                     .timeout_ms = TIMEOUT_MS,
                                     .done = answered,
                                     .arg = x};
    if (e == VRS_OK)
        e = client_start(client, &call);
    if (e == VRS_OK)
        (void)event_base_dispatch(x->base);
    else
        (void)fprintf(stderr, "ocr-ingest: %s\n",
                      fault.text[0] != '\0' ? fault.text : err_detail_ja(e));
    client_close(&client);
    if (x->base != NULL)
        event_base_free(x->base);
    buffer_fini(&body);
    return x->status;
}

int enrol_main(int argc, char **argv) {
    struct exchange x = {0};
    if (!read_options(argc, argv, &x.o) || strlen(x.o.out) > PATH_BYTES - 32)
        return usage();
    if (mkdir(x.o.out, 0700) != 0 && errno != EEXIST) {
        (void)fprintf(stderr, "ocr-ingest: %s: %s\n", x.o.out, strerror(errno));
        return 1;
    }
    (void)snprintf(x.key, sizeof x.key, "%s/terminal.key", x.o.out);
    (void)snprintf(x.cert, sizeof x.cert, "%s/terminal.pem", x.o.out);
    (void)snprintf(x.authority, sizeof x.authority, "%s/authority.pem", x.o.out);
    if (x.o.renew && access(x.cert, R_OK) != 0) {
        (void)fprintf(stderr, "ocr-ingest: %s: %s\n", x.cert, strerror(errno));
        return 1;
    }
    return exchange(&x);
}
