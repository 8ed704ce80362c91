#include "vrs-server/alerts/alert_out.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/client.h"
#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/json.h"

enum { POST_TIMEOUT_MS = 8000, REPLY_MAX_BYTES = 64 << 10, SECRET_MAX = 256, MAIL_MAX = 16 << 10 };

/* --- the document --- */

static json_t *alert_object(const struct alert_rules *rules, const struct alert *a) {
    const struct alert_rule *r = alert_rules_find(rules, a->rule);
    char id[33], at[25];
    record_id_format(&a->id, id);
    clock_format_rfc3339(a->at_ms, at);
    return json_pack("{s:s,s:s,s:s,s:s,s:s,s:I,s:s,s:s,s:s}", "id", id, "rule", a->rule, "severity",
                     r != NULL ? r->severity : "warning", "kind", alert_kind_name(a->kind),
                     "subject", a->subject, "count", (json_int_t)a->count, "at", at, "title",
                     r != NULL ? r->title_ja : "", "todo", r != NULL ? r->todo_ja : "");
}

enum vrs_err alert_json(const struct alert_rules *rules, const struct alert *const *list,
                        size_t count, struct buffer *out) {
    json_t *array = json_array();
    bool ok = array != NULL;
    for (size_t i = 0; i < count && ok; i++)
        ok = json_array_append_new(array, alert_object(rules, list[i])) == 0;
    json_t *document = json_pack("{s:s,s:o*}", "format", "vrs-alert/1", "alerts", array);
    ok = ok && document != NULL && json_write(out, document);
    json_decref(document);
    return ok ? VRS_OK : ERR_MEMORY;
}

/* --- webhook --- */

struct webhook {
    struct client *client;
    char path[512];
    uint8_t secret[SECRET_MAX];
    size_t secret_len;
    webhook_done_fn *done;
    void *arg;
};

static enum vrs_err read_secret(struct webhook *w, const char *file, struct vrs_fault *fault) {
    int fd = open(file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, w->secret, sizeof w->secret) : -1;
    if (fd >= 0)
        (void)close(fd);
    while (n > 0 && (w->secret[n - 1] == '\n' || w->secret[n - 1] == '\r'))
        n--;
    if (n < 16)
        return err_fail(fault, ERR_CONFIG, "alert_webhook_secret_file %s has no 16 bytes", file);
    w->secret_len = (size_t)n;
    return VRS_OK;
}

enum vrs_err webhook_open(struct server *s, struct webhook **out, struct vrs_fault *fault) {
    const struct server_config *c = &s->config;
    *out = NULL;
    if (c->alert_webhook_url[0] == '\0')
        return VRS_OK;
    const char *scheme_end = strstr(c->alert_webhook_url, "://");
    const char *path = scheme_end != NULL ? strchr(scheme_end + 3, '/') : NULL;
    size_t base_len =
        path != NULL ? (size_t)(path - c->alert_webhook_url) : strlen(c->alert_webhook_url);
    struct webhook *w = calloc(1, sizeof *w);
    char *base = strndup(c->alert_webhook_url, base_len);
    enum vrs_err e = w != NULL && base != NULL ? VRS_OK : ERR_MEMORY;
    if (e == VRS_OK)
        (void)snprintf(w->path, sizeof w->path, "%s", path != NULL ? path : "/");
    if (e == VRS_OK && c->alert_webhook_secret_file[0] != '\0')
        e = read_secret(w, c->alert_webhook_secret_file, fault);
    if (e == VRS_OK) {
        const struct client_options o = {
            .base_url = base,
            .ca_file = c->alert_webhook_ca_file,
            .plain_loopback = c->development,
            .max_reply_bytes = REPLY_MAX_BYTES,
            .max_connections = 1,
        };
        e = client_open(s->base, &o, &w->client, fault);
    }
    free(base);
    if (e != VRS_OK)
        webhook_close(&w);
    *out = w;
    return e;
}

void webhook_close(struct webhook **wp) {
    struct webhook *w = *wp;
    if (w == NULL)
        return;
    client_close(&w->client);
    explicit_bzero(w, sizeof *w);
    free(w);
    *wp = NULL;
}

static void posted(const struct client_reply *reply, void *arg) {
    struct webhook *w = arg;
    w->done(reply->err == VRS_OK && reply->status >= 200 && reply->status < 300, w->arg);
}

enum vrs_err webhook_post(struct webhook *w, const struct buffer *body, webhook_done_fn *done,
                          void *arg) {
    uint8_t mac[32];
    char hex[65], signature[96] = "";
    const char *headers[] = {NULL, NULL};
    if (w->secret_len > 0) {
        crypto_hmac_sha256(w->secret, w->secret_len, body->data, body->len, mac);
        crypto_hex(mac, sizeof mac, hex);
        (void)snprintf(signature, sizeof signature, "X-VRS-Signature: sha256=%s", hex);
        headers[0] = signature;
    }
    w->done = done;
    w->arg = arg;
    const struct client_call call = {.method = "POST",
                                     .path = w->path,
                                     .content_type = "application/json",
                                     .headers = headers,
                                     .body = body->data,
                                     .len = body->len,
                                     .timeout_ms = POST_TIMEOUT_MS,
                                     .done = posted,
                                     .arg = w};
    return client_start(w->client, &call);
}

/* --- mail --- */

/* UTF-8 in a header: one encoded word for each 12 characters at most (RFC 2047). */
static void put_subject(struct buffer *out, const char *text) {
    char word[68];
    bool first = true;
    (void)buffer_puts(out, "Subject: ");
    for (size_t at = 0, len = strlen(text); at < len;) {
        size_t n = len - at < 36 ? len - at : 36;
        while (at + n < len && ((unsigned char)text[at + n] & 0xc0) == 0x80)
            n--;
        crypto_base64(text + at, n, word);
        (void)buffer_printf(out, "%s=?UTF-8?B?%s?=\r\n", first ? "" : " ", word);
        first = false;
        at += n;
    }
}

static void put_mail(const struct server_config *c, const struct alert_rules *rules,
                     const struct alert *a, struct buffer *out) {
    const struct alert_rule *r = alert_rules_find(rules, a->rule);
    char id[33], at[25], subject[400];
    record_id_format(&a->id, id);
    clock_format_rfc3339(a->at_ms, at);
    const char *kind = a->kind == ALERT_RAISED    ? ""
                       : a->kind == ALERT_GOES_ON ? "（継続）"
                                                  : "（解消）";
    (void)snprintf(subject, sizeof subject, "[VRS] %s%s", kind, r != NULL ? r->title_ja : a->rule);
    (void)buffer_printf(out, "From: %s\r\nTo: %s\r\n", c->alert_mail_from, c->alert_mail_to);
    put_subject(out, subject);
    (void)buffer_printf(out,
                        "Message-ID: <%s@vrs.invalid>\r\nAuto-Submitted: auto-generated\r\n"
                        "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=UTF-8\r\n"
                        "Content-Transfer-Encoding: 8bit\r\n\r\n",
                        id);
    (void)buffer_printf(out,
                        "%s%s\r\n\r\n規則: %s（%s）\r\n対象: %s\r\n回数: %lld\r\n時刻: %s\r\n"
                        "番号: %s\r\n\r\n%s\r\n",
                        kind, r != NULL ? r->title_ja : "", a->rule, r != NULL ? r->severity : "",
                        a->subject, (long long)a->count, at, id, r != NULL ? r->todo_ja : "");
}

static bool write_all(int fd, const struct buffer *b) {
    for (size_t at = 0; at < b->len;) {
        ssize_t n = write(fd, b->data + at, b->len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        at += (size_t)n;
    }
    return true;
}

enum vrs_err alert_spool(const struct server_config *c, const struct alert_rules *rules,
                         const struct alert *a) {
    char id[33], dir[512], fresh[600], final[600];
    struct buffer text;
    record_id_format(&a->id, id);
    (void)snprintf(dir, sizeof dir, "%s/alerts", c->state_dir);
    (void)snprintf(fresh, sizeof fresh, "%s/%s.new", dir, id);
    (void)snprintf(final, sizeof final, "%s/%s.mail", dir, id);
    buffer_init(&text, MAIL_MAX);
    put_mail(c, rules, a, &text);
    if (mkdir(dir, 0700) != 0 && errno != EEXIST)
        text.failed = true;
    int fd = text.failed ? -1 : open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    bool ok = fd >= 0 && write_all(fd, &text) && fsync(fd) == 0;
    if (fd >= 0 && close(fd) != 0)
        ok = false;
    ok = ok && rename(fresh, final) == 0;
    if (!ok && fd >= 0)
        (void)unlink(fresh);
    buffer_fini(&text);
    return ok ? VRS_OK : ERR_IO;
}
