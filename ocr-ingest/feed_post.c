#include "ocr-ingest/feed_post.h"

#include <event2/event.h>
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
#include "lib/secret.h"

enum {
    TICK_MS = 100,
    BACKOFF_FIRST_MS = 500,
    BACKOFF_MOST_MS = 30000,
    REPLY_MAX_BYTES = 4 << 20,
    TOKEN_MAX = 256,
    PASSWORD_MAX = 256,
    LOGIN_TRIES = 3 /* a session that ends at once again and again */
};

struct feed_post {
    const struct feed_options *o;
    struct feed_progress *progress;
    const volatile sig_atomic_t *stop;
    feed_settled_fn *settled;
    void *arg;
    struct event_base *base;
    struct event *tick;
    struct client *client;
    char authorization[TOKEN_MAX + 32]; /* "": none */
    char password[PASSWORD_MAX];
    /* the call in flight */
    bool answered;
    struct client_reply reply; /* body is ours: */
    struct buffer body;
};

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    struct feed_post *p = arg;
    (void)fd;
    (void)what;
    feed_progress_tick(p->progress);
}

static enum vrs_err read_password(struct feed_post *p, struct vrs_fault *fault) {
    struct stat st;
    int fd = open(p->o->password_file, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, p->password, sizeof p->password - 1) : -1;
    bool open_to_others = fd >= 0 && fstat(fd, &st) == 0 && (st.st_mode & 077) != 0;
    if (fd >= 0)
        (void)close(fd);
    if (open_to_others)
        return err_fail(fault, ERR_CONFIG, "%s: ほかの人が読めます（chmod 600 してください）",
                        p->o->password_file);
    if (n <= 0)
        return err_fail(fault, ERR_CONFIG, "%s: パスワードを読めません", p->o->password_file);
    p->password[n] = '\0';
    p->password[strcspn(p->password, "\r\n")] = '\0';
    return VRS_OK;
}

enum vrs_err feed_post_open(const struct feed_post_options *po, struct feed_post **out,
                            struct vrs_fault *fault) {
    const struct feed_options *o = po->o;
    const struct client_options co = {.base_url = o->url,
                                      .ca_file = o->ca_file,
                                      .cert_file = o->cert_file,
                                      .key_file = o->key_file,
                                      .max_reply_bytes = REPLY_MAX_BYTES,
                                      .max_connections = 1};
    const struct timeval every = {.tv_usec = TICK_MS * 1000};
    enum vrs_err e = VRS_OK;
    struct feed_post *p = calloc(1, sizeof *p);
    if (p == NULL)
        return err_fail(fault, ERR_MEMORY, "post");
    p->o = o;
    p->progress = po->progress;
    p->stop = po->stop;
    p->settled = po->settled;
    p->arg = po->arg;
    buffer_init(&p->body, REPLY_MAX_BYTES);
    if (o->user_id[0] != '\0')
        e = read_password(p, fault);
    if (e == VRS_OK) {
        p->base = event_base_new();
        p->tick = p->base != NULL ? event_new(p->base, -1, EV_PERSIST, on_tick, p) : NULL;
        if (p->tick == NULL || event_add(p->tick, &every) != 0)
            e = err_fail(fault, ERR_MEMORY, "event base");
    }
    if (e == VRS_OK)
        e = client_open(p->base, &co, &p->client, fault);
    if (e == VRS_OK)
        *out = p;
    else
        feed_post_close(&p);
    return e;
}

void feed_post_close(struct feed_post **pp) {
    struct feed_post *p = *pp;
    if (p == NULL)
        return;
    client_close(&p->client);
    if (p->tick != NULL)
        event_free(p->tick);
    if (p->base != NULL)
        event_base_free(p->base);
    buffer_fini(&p->body);
    secret_wipe(p, sizeof *p);
    free(p);
    *pp = NULL;
}

/* --- one call --- */

static void on_reply(const struct client_reply *reply, void *arg) {
    struct feed_post *p = arg;
    p->reply = *reply;
    p->reply.content_type = "";
    p->reply.date = "";
    if (reply->len > 0 && !buffer_put(&p->body, reply->body, reply->len))
        p->reply.err = ERR_MEMORY;
    p->reply.body = p->body.data;
    p->answered = true;
}

/* ERR_TIMEOUT when stopped; otherwise VRS_OK and p->reply says what came, or did not. */
static enum vrs_err call(struct feed_post *p, const char *method, const char *path,
                         const char *type, const void *body, size_t len, struct vrs_fault *fault) {
    const char *headers[2] = {p->authorization[0] != '\0' ? p->authorization : NULL, NULL};
    const struct client_call c = {.method = method,
                                  .path = path,
                                  .content_type = type,
                                  .headers = headers,
                                  .body = body,
                                  .len = len,
                                  .timeout_ms = p->o->timeout_ms,
                                  .done = on_reply,
                                  .arg = p};
    buffer_clear(&p->body);
    p->answered = false;
    enum vrs_err e = client_start(p->client, &c);
    if (e != VRS_OK)
        return err_fail(fault, e, "request");
    while (!p->answered && !*p->stop)
        (void)event_base_loop(p->base, EVLOOP_ONCE);
    return p->answered ? VRS_OK : err_fail(fault, ERR_TIMEOUT, "中断しました");
}

bool feed_post_pause(struct feed_post *p, int64_t ms) {
    int64_t until = clock_mono_ms() + ms;
    while (!*p->stop && clock_mono_ms() < until)
        (void)event_base_loop(p->base, EVLOOP_ONCE);
    return !*p->stop;
}

/* --- trying again --- */

struct backoff {
    int64_t next_ms;
    int64_t progress_ms; /* monotonic: when something was last settled */
};

static void backoff_reset(struct backoff *b) {
    b->next_ms = BACKOFF_FIRST_MS;
    b->progress_ms = clock_mono_ms();
}

static enum vrs_err backoff_wait(struct feed_post *p, struct backoff *b, const char *why,
                                 int64_t retry_after_ms, struct vrs_fault *fault) {
    if (clock_mono_ms() - b->progress_ms >= p->o->give_up_s * 1000)
        return err_fail(fault, ERR_TIMEOUT, "%s", why);
    uint32_t random;
    crypto_random(&random, sizeof random);
    int64_t wait = b->next_ms / 2 + (int64_t)(random % (uint32_t)b->next_ms);
    if (retry_after_ms > wait)
        wait = retry_after_ms < BACKOFF_MOST_MS ? retry_after_ms : BACKOFF_MOST_MS;
    b->next_ms = b->next_ms * 2 < BACKOFF_MOST_MS ? b->next_ms * 2 : BACKOFF_MOST_MS;
    p->progress->waiting = why;
    bool go_on = feed_post_pause(p, wait);
    p->progress->waiting = NULL;
    return go_on ? VRS_OK : err_fail(fault, ERR_TIMEOUT, "中断しました");
}

static bool status_passes(int status) {
    return status == 408 || status == 425 || status == 429 || status >= 500;
}

/* NULL: an answer that may be read.  Otherwise what to tell while waiting. */
static const char *trouble(const struct client_reply *r) {
    if (r->err != VRS_OK)
        return r->sent ? "応答がありません（同じキーで再送します）" : "サーバーに接続できません";
    if (status_passes(r->status))
        return r->status == 429 ? "混み合っています" : "サーバーが一時的に受け付けられません";
    return NULL;
}

/* Why there is no sense in going on: the problem's own text. */
static enum vrs_err refuse(struct feed_post *p, const char *what, struct vrs_fault *fault) {
    enum vrs_err e = ERR_PROTOCOL;
    json_t *doc = NULL;
    if (json_parse(p->reply.body, p->reply.len, &doc, NULL) == VRS_OK) {
        const char *code = json_string_value(json_object_get(doc, "code"));
        if (code == NULL || !err_by_name(code, &e) || e == VRS_OK)
            e = ERR_PROTOCOL;
    }
    json_decref(doc);
    return err_fail(fault, e, "%s: HTTP %d", what, p->reply.status);
}

/* --- log-in --- */

static enum vrs_err login(struct feed_post *p, struct backoff *b, struct vrs_fault *fault) {
    for (;;) {
        struct buffer body;
        buffer_init(&body, 2048);
        json_t *doc = json_pack("{s:s, s:s}", "user_id", p->o->user_id, "password", p->password);
        bool ok = doc != NULL && json_write(&body, doc);
        json_decref(doc);
        p->authorization[0] = '\0';
        enum vrs_err e =
            ok ? call(p, "POST", "/v1/sessions", "application/json", body.data, body.len, fault)
               : err_fail(fault, ERR_MEMORY, "login");
        buffer_fini(&body);
        if (e != VRS_OK)
            return e;
        const char *why = trouble(&p->reply);
        if (why == NULL)
            break;
        e = backoff_wait(p, b, why, p->reply.retry_after_ms, fault);
        if (e != VRS_OK)
            return e;
    }
    if (p->reply.status != 201)
        return refuse(p, "log-in", fault);
    json_t *doc = NULL;
    enum vrs_err e = json_parse(p->reply.body, p->reply.len, &doc, fault);
    const char *token = e == VRS_OK ? json_string_value(json_object_get(doc, "token")) : NULL;
    if (token == NULL || strlen(token) >= TOKEN_MAX)
        e = err_fail(fault, ERR_PROTOCOL, "log-in answer");
    else
        (void)snprintf(p->authorization, sizeof p->authorization, "Authorization: Bearer %s",
                       token);
    json_decref(doc);
    buffer_clear(&p->body);
    return e;
}

/* A call with its log-in; VRS_OK: p->reply may be read. */
static enum vrs_err call_logged_in(struct feed_post *p, struct backoff *b, const char *method,
                                   const char *path, const char *type, const void *body, size_t len,
                                   struct vrs_fault *fault) {
    for (int logins = 0;;) {
        enum vrs_err e = VRS_OK;
        if (p->o->user_id[0] != '\0' && p->authorization[0] == '\0') {
            if (logins++ == LOGIN_TRIES)
                return err_fail(fault, ERR_SESSION_ENDED, "log-in");
            e = login(p, b, fault);
        }
        if (e == VRS_OK)
            e = call(p, method, path, type, body, len, fault);
        if (e != VRS_OK)
            return e;
        const char *why = trouble(&p->reply);
        if (why != NULL)
            e = backoff_wait(p, b, why, p->reply.err == VRS_OK ? p->reply.retry_after_ms : -1,
                             fault);
        else if (p->reply.status == 401 && p->o->user_id[0] != '\0')
            p->authorization[0] = '\0';
        else
            return VRS_OK;
        if (e != VRS_OK)
            return e;
    }
}

/* --- answers --- */

static enum feed_state state_of(const char *outcome) {
    static const struct {
        const char *name;
        enum feed_state state;
    } map[] = {{"recorded", FEED_RECORDED},
               {"recorded_for_review", FEED_REVIEW},
               {"waiting_for_coupon", FEED_WAITING},
               {"conflict", FEED_CONFLICT},
               {"duplicate", FEED_DUPLICATE}};
    for (size_t i = 0; i < sizeof map / sizeof map[0]; i++)
        if (strcmp(map[i].name, outcome) == 0)
            return map[i].state;
    return FEED_PENDING;
}

static void warning_codes(const json_t *answer, char out[FEED_CODE_SIZE]) {
    size_t i;
    json_t *w;
    out[0] = '\0';
    json_array_foreach(json_object_get(answer, "warnings"), i, w) {
        const char *code = json_string_value(json_object_get(w, "code"));
        size_t have = strlen(out);
        if (code != NULL && have + strlen(code) + 2 < FEED_CODE_SIZE)
            (void)snprintf(out + have, FEED_CODE_SIZE - have, "%s%s", have > 0 ? "," : "", code);
    }
}

/* *settled is set when the answer says what became of the reading. */
static enum vrs_err take_answer(struct feed_post *p, uint64_t row, const json_t *answer, int status,
                                bool *settled) {
    char codes[FEED_CODE_SIZE];
    const char *receipt = json_string_value(json_object_get(answer, "receipt_id"));
    const char *outcome = json_string_value(json_object_get(answer, "outcome"));
    if (status >= 200 && status < 300 && receipt != NULL && outcome != NULL) {
        *settled = true;
        warning_codes(answer, codes);
        return p->settled(row, state_of(outcome), codes, receipt, answer, p->arg);
    }
    const char *code = json_string_value(json_object_get(answer, "code"));
    enum vrs_err e = VRS_OK;
    bool known = code != NULL && err_by_name(code, &e);
    if (status < 400 || status_passes(status) || status == 401 || status == 403 ||
        (known && err_retryable(e)))
        return VRS_OK;
    *settled = true;
    /* A used key means that something is stored under it: never to be sent under a new one. */
    return p->settled(row, e == ERR_KEY_REUSED ? FEED_CONFLICT : FEED_REFUSED,
                      code != NULL ? code : "bad_request", NULL, answer, p->arg);
}

static struct feed_item *item_with(struct feed_item *item, size_t count, const char *key) {
    for (size_t i = 0; key != NULL && i < count; i++)
        if (strcmp(item[i].key, key) == 0)
            return &item[i];
    return NULL;
}

/* Lines are matched by key, whatever their order; what has no line stays open. */
static enum vrs_err take_batch(struct feed_post *p, struct feed_item *item, size_t count,
                               size_t *settled) {
    const char *at = p->reply.body;
    const char *end = at != NULL ? at + p->reply.len : NULL;
    while (at < end) {
        const char *newline = memchr(at, '\n', (size_t)(end - at));
        size_t n = newline != NULL ? (size_t)(newline - at) : (size_t)(end - at);
        json_t *answer = NULL;
        enum vrs_err e = VRS_OK;
        if (n > 0 && json_parse(at, n, &answer, NULL) == VRS_OK) {
            struct feed_item *i = item_with(
                item, count, json_string_value(json_object_get(answer, "idempotency_key")));
            int status = (int)json_integer_value(json_object_get(answer, "status"));
            if (i != NULL && !i->settled) {
                e = take_answer(p, i->row, answer, status, &i->settled);
                *settled += i->settled;
            }
        }
        json_decref(answer);
        if (e != VRS_OK)
            return e;
        at += n + 1;
    }
    return VRS_OK;
}

enum vrs_err feed_post_batch(struct feed_post *p, struct feed_item *item, size_t count,
                             struct vrs_fault *fault) {
    struct backoff b;
    size_t done = 0;
    backoff_reset(&b);
    while (done < count) {
        struct buffer body;
        size_t settled = 0;
        buffer_init(&body, SIZE_MAX);
        for (size_t i = 0; i < count; i++)
            if (!item[i].settled)
                (void)buffer_put(&body, item[i].body, item[i].len);
        enum vrs_err e = body.failed
                             ? err_fail(fault, ERR_MEMORY, "batch")
                             : call_logged_in(p, &b, "POST", "/v1/doses:batch",
                                              "application/x-ndjson", body.data, body.len, fault);
        buffer_fini(&body);
        if (e != VRS_OK)
            return e;
        if (p->reply.status != 200)
            return refuse(p, "doses:batch", fault);
        e = take_batch(p, item, count, &settled);
        if (e != VRS_OK)
            return e;
        done += settled;
        if (settled > 0)
            backoff_reset(&b);
        if (done < count)
            e = backoff_wait(p, &b, "サーバーが一時的に受け付けられません", p->reply.retry_after_ms,
                             fault);
        if (e != VRS_OK)
            return e;
    }
    return VRS_OK;
}

enum vrs_err feed_post_ask(struct feed_post *p, uint64_t row, const char *receipt,
                           struct vrs_fault *fault) {
    char path[FEED_RECEIPT_SIZE + 16];
    struct backoff b;
    json_t *answer = NULL;
    bool settled = false;
    backoff_reset(&b);
    (void)snprintf(path, sizeof path, "/v1/doses/%s", receipt);
    enum vrs_err e = call_logged_in(p, &b, "GET", path, NULL, NULL, 0, fault);
    if (e != VRS_OK)
        return e;
    if (p->reply.status != 200 && p->reply.status != 404)
        return refuse(p, "doses", fault);
    if (p->reply.status == 200 && json_parse(p->reply.body, p->reply.len, &answer, NULL) == VRS_OK)
        e = take_answer(p, row, answer, p->reply.status, &settled);
    json_decref(answer);
    return e;
}
