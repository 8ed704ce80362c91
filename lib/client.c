#include "lib/client.h"

#include <curl/curl.h>
#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/buffer.h"
#include "lib/secret.h"

enum {
    CONNECT_MS = 5000,
    HEADER_MAX_BYTES = 32 * 1024,
    PEM_MAX_BYTES = 256 * 1024,
    DEFAULT_REPLY_BYTES = 1024 * 1024,
    DEFAULT_CONNECTIONS = 4
};

/* A file held in memory, so that new connections open no files (sandbox) and a missing one is seen
 * at the start. */
struct pem {
    char *data;
    size_t len;
};

LIST_HEAD(flight_list, flight);

struct client {
    struct event_base *base;
    CURLM *multi;
    struct event *timer;
    char *base_url;
    bool plain; /* http to a loopback address */
    struct pem ca, cert, key;
    size_t max_reply_bytes;
    long max_connections;
    struct flight_list active;
    struct flight_list spare; /* handles that keep their options, for reuse */
    size_t in_flight;
    size_t spares;
    bool reporting; /* inside done callbacks */
    bool closed;    /* client_close was called from one of them */
};

struct flight {
    LIST_ENTRY(flight) link;
    struct client *client;
    CURL *easy;
    struct event *deadline; /* our own: libcurl lets a call that waits for a connection wait on */
    struct curl_slist *headers;
    uint8_t *body; /* own copy, wiped */
    size_t body_len;
    struct buffer reply;
    size_t header_bytes;
    int64_t retry_after_ms;
    char date[64];
    client_done_fn *done;
    void *arg;
};

/* --- files --- */

static void pem_free(struct pem *p) {
    if (p->data != NULL)
        secret_wipe(p->data, p->len);
    free(p->data);
    p->data = NULL;
}

static enum vrs_err pem_read(const char *file, struct pem *out, struct vrs_fault *fault) {
    enum vrs_err e = VRS_OK;
    struct stat st;
    int fd = open(file, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || fstat(fd, &st) != 0) {
        e = err_fail(fault, ERR_CONFIG, "open %s", file);
        goto out;
    }
    if (st.st_size <= 0 || st.st_size > PEM_MAX_BYTES) {
        e = err_fail(fault, ERR_CONFIG, "size of %s", file);
        goto out;
    }
    out->data = calloc(1, (size_t)st.st_size + 1);
    if (out->data == NULL) {
        e = err_fail(fault, ERR_MEMORY, "%s", file);
        goto out;
    }
    while (out->len < (size_t)st.st_size) {
        ssize_t n = read(fd, out->data + out->len, (size_t)st.st_size - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        out->len += (size_t)n;
    }
    if (strstr(out->data, "-----BEGIN ") == NULL)
        e = err_fail(fault, ERR_CONFIG, "%s is not PEM", file);
out:
    if (fd >= 0)
        (void)close(fd);
    return e;
}

/* --- flights --- */

static size_t on_body(char *p, size_t size, size_t n, void *arg) {
    struct flight *f = arg;
    return buffer_put(&f->reply, p, size * n) ? n : 0; /* 0 ends it: too big */
}

/* The value of "Name: value\r\n" when it is `name`; *len without white space. */
static const char *header_value(const char *line, size_t n, const char *name, size_t *len) {
    size_t name_len = strlen(name);
    if (n <= name_len || strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
        return NULL;
    const char *p = line + name_len + 1, *end = line + n;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (end > p && (end[-1] == '\n' || end[-1] == '\r' || end[-1] == ' '))
        end--;
    *len = (size_t)(end - p);
    return p;
}

static size_t on_header(char *line, size_t size, size_t count, void *arg) {
    struct flight *f = arg;
    size_t n = size * count, len = 0;
    const char *v;

    f->header_bytes += n;
    if (f->header_bytes > HEADER_MAX_BYTES)
        return 0;
    if ((v = header_value(line, n, "Date", &len)) != NULL && len < sizeof f->date) {
        memcpy(f->date, v, len);
        f->date[len] = '\0';
    } else if ((v = header_value(line, n, "Retry-After", &len)) != NULL && len > 0 && len <= 6) {
        int64_t s = 0;
        for (size_t i = 0; i < len && s >= 0; i++)
            s = v[i] >= '0' && v[i] <= '9' ? s * 10 + (v[i] - '0') : -1;
        f->retry_after_ms = s >= 0 ? s * 1000 : -1;
    }
    return count;
}

static struct curl_blob blob(const struct pem *p) {
    return (struct curl_blob){.data = p->data, .len = p->len, .flags = CURL_BLOB_NOCOPY};
}

/* Options that are the same for every call of a client. */
static bool set_common(struct flight *f) {
    const struct client *c = f->client;
    CURL *h = f->easy;
    struct curl_blob ca = blob(&c->ca), cert = blob(&c->cert), key = blob(&c->key);
    bool ok = curl_easy_setopt(h, CURLOPT_PRIVATE, f) == CURLE_OK;

    ok = ok &&
         curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, c->plain ? "http" : "https") == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_PROXY, "") == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_NOPROXY, "*") == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L) == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1) == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS) == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body) == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_WRITEDATA, f) == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header) == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_HEADERDATA, f) == CURLE_OK;
    /* Our authority alone: libcurl would otherwise also trust the folder of public ones. */
    if (c->plain)
        return ok;
    ok = ok && curl_easy_setopt(h, CURLOPT_CAINFO_BLOB, &ca) == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_CAPATH, NULL) == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 1L) == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 2L) == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_3) == CURLE_OK &&
         curl_easy_setopt(h, CURLOPT_SSL_SESSIONID_CACHE, 0L) == CURLE_OK;
    if (ok && c->cert.data != NULL)
        ok = curl_easy_setopt(h, CURLOPT_SSLCERT_BLOB, &cert) == CURLE_OK &&
             curl_easy_setopt(h, CURLOPT_SSLKEY_BLOB, &key) == CURLE_OK;
    return ok;
}

static void flight_free(struct flight *f) {
    if (f == NULL)
        return;
    curl_easy_cleanup(f->easy);
    if (f->deadline != NULL)
        event_free(f->deadline);
    free(f);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg);

static struct flight *flight_new(struct client *c) {
    struct flight *f = calloc(1, sizeof *f);
    if (f == NULL)
        return NULL;
    f->client = c;
    f->easy = curl_easy_init();
    f->deadline = event_new(c->base, -1, 0, on_deadline, f);
    if (f->easy == NULL || f->deadline == NULL || !set_common(f)) {
        flight_free(f);
        return NULL;
    }
    return f;
}

/* Ends what belongs to one call; the handle stays for the next. */
static void flight_land(struct flight *f) {
    struct client *c = f->client;

    curl_slist_free_all(f->headers);
    f->headers = NULL;
    if (f->body != NULL)
        secret_wipe(f->body, f->body_len);
    free(f->body);
    f->body = NULL;
    buffer_fini(&f->reply);
    (void)event_del(f->deadline);
    LIST_REMOVE(f, link);
    c->in_flight--;
    if (c->spares >= (size_t)c->max_connections) {
        flight_free(f);
        return;
    }
    LIST_INSERT_HEAD(&c->spare, f, link);
    c->spares++;
}

static bool add_header(struct flight *f, const char *line) {
    struct curl_slist *longer = curl_slist_append(f->headers, line);
    if (longer == NULL)
        return false;
    f->headers = longer;
    return true;
}

static bool set_call(struct flight *f, const struct client_call *call) {
    CURL *h = f->easy;
    char line[256], url[1024];
    bool bodyless = strcmp(call->method, "GET") == 0 || strcmp(call->method, "HEAD") == 0;

    int n = snprintf(url, sizeof url, "%s%s", f->client->base_url, call->path);
    if (n < 0 || (size_t)n >= sizeof url)
        return false;
    bool ok = curl_easy_setopt(h, CURLOPT_URL, url) == CURLE_OK && add_header(f, "Expect:") &&
              add_header(f, "Accept:");
    if (call->content_type != NULL) {
        (void)snprintf(line, sizeof line, "Content-Type: %s", call->content_type);
        ok = ok && add_header(f, line);
    } else {
        ok = ok && add_header(f, "Content-Type:");
    }
    for (const char *const *p = call->headers; ok && p != NULL && *p != NULL; p++)
        ok = add_header(f, *p);
    ok = ok && curl_easy_setopt(h, CURLOPT_HTTPHEADER, f->headers) == CURLE_OK;
    if (!ok)
        return false;
    if (bodyless) {
        bool head = strcmp(call->method, "HEAD") == 0;
        return curl_easy_setopt(h, CURLOPT_HTTPGET, 1L) == CURLE_OK &&
               curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, NULL) == CURLE_OK &&
               curl_easy_setopt(h, CURLOPT_NOBODY, head ? 1L : 0L) == CURLE_OK;
    }
    f->body = malloc(call->len + 1);
    if (f->body == NULL)
        return false;
    if (call->len > 0)
        memcpy(f->body, call->body, call->len);
    f->body_len = call->len;
    return curl_easy_setopt(h, CURLOPT_NOBODY, 0L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_POST, 1L) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->len) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_POSTFIELDS, f->body) == CURLE_OK &&
           curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, call->method) == CURLE_OK;
}

/* --- how it ended --- */

static enum vrs_err judge(CURLcode code, bool sent, bool too_big) {
    switch (code) {
    case CURLE_OK:
        return VRS_OK;
    case CURLE_WRITE_ERROR:
        return too_big ? ERR_PROTOCOL : ERR_MEMORY;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL:
        return ERR_PROTOCOL;
    case CURLE_OUT_OF_MEMORY:
        return ERR_MEMORY;
    default:
        /* A time-out, or the connection broke: what was sent may have had its effect. */
        return sent ? ERR_TIMEOUT : ERR_INSIDE_AWAY;
    }
}

static void report(struct flight *f, CURLcode code) {
    long status = 0, request_bytes = 0;
    char *type = NULL;
    struct client_reply r = {.retry_after_ms = f->retry_after_ms, .date = f->date};

    (void)curl_easy_getinfo(f->easy, CURLINFO_RESPONSE_CODE, &status);
    (void)curl_easy_getinfo(f->easy, CURLINFO_REQUEST_SIZE, &request_bytes);
    (void)curl_easy_getinfo(f->easy, CURLINFO_CONTENT_TYPE, &type);
    r.sent = request_bytes > 0;
    r.err = judge(code, r.sent, f->reply.failed || f->header_bytes > HEADER_MAX_BYTES);
    r.content_type = "";
    if (r.err == VRS_OK) {
        r.status = (int)status;
        r.content_type = type != NULL ? type : "";
        r.body = f->reply.data;
        r.len = f->reply.len;
    }
    f->done(&r, f->arg);
}

static void destroy(struct client *c) {
    struct flight *f;

    while ((f = LIST_FIRST(&c->active)) != NULL) {
        (void)curl_multi_remove_handle(c->multi, f->easy);
        flight_land(f);
    }
    while ((f = LIST_FIRST(&c->spare)) != NULL) {
        LIST_REMOVE(f, link);
        flight_free(f);
    }
    if (c->multi != NULL)
        (void)curl_multi_cleanup(c->multi); /* closes sockets through on_socket */
    if (c->timer != NULL)
        event_free(c->timer);
    pem_free(&c->ca);
    pem_free(&c->cert);
    pem_free(&c->key);
    free(c->base_url);
    free(c);
}

/* The call's deadline, whatever libcurl is doing with it. */
static void on_deadline(evutil_socket_t fd, short what, void *arg) {
    struct flight *f = arg;
    struct client *c = f->client;

    (void)fd;
    (void)what;
    (void)curl_multi_remove_handle(c->multi, f->easy);
    c->reporting = true;
    report(f, CURLE_OPERATION_TIMEDOUT);
    c->reporting = false;
    flight_land(f);
    if (c->closed)
        destroy(c);
}

/* Reports all that has ended; true when the client is gone afterwards. */
static bool report_ended(struct client *c) {
    const CURLMsg *m;
    int left = 0;

    c->reporting = true;
    while (!c->closed && (m = curl_multi_info_read(c->multi, &left)) != NULL) {
        struct flight *f = NULL;
        CURLcode code = m->data.result;
        if (m->msg != CURLMSG_DONE)
            continue;
        (void)curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&f);
        (void)curl_multi_remove_handle(c->multi, f->easy);
        report(f, code);
        flight_land(f);
    }
    c->reporting = false;
    if (!c->closed)
        return false;
    destroy(c);
    return true;
}

/* --- libcurl on the loop --- */

static void on_socket_event(evutil_socket_t fd, short what, void *arg) {
    struct client *c = arg;
    int running = 0;
    int bits =
        ((what & EV_READ) ? CURL_CSELECT_IN : 0) | ((what & EV_WRITE) ? CURL_CSELECT_OUT : 0);

    (void)curl_multi_socket_action(c->multi, fd, bits, &running);
    (void)report_ended(c);
}

static void on_timer_event(evutil_socket_t fd, short what, void *arg) {
    struct client *c = arg;
    int running = 0;

    (void)fd;
    (void)what;
    (void)curl_multi_socket_action(c->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    (void)report_ended(c);
}

static int on_timer(CURLM *multi, long timeout_ms, void *arg) {
    struct client *c = arg;
    struct timeval wait = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};

    (void)multi;
    if (timeout_ms < 0)
        return event_del(c->timer);
    return event_add(c->timer, &wait);
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *assigned) {
    struct client *c = arg;
    struct event *ev = assigned;
    short wanted = EV_PERSIST;

    (void)easy;
    if (ev != NULL)
        event_free(ev);
    ev = NULL;
    if (what != CURL_POLL_REMOVE) {
        if (what & CURL_POLL_IN)
            wanted |= EV_READ;
        if (what & CURL_POLL_OUT)
            wanted |= EV_WRITE;
        ev = event_new(c->base, fd, wanted, on_socket_event, c);
        if (ev == NULL || event_add(ev, NULL) != 0) {
            if (ev != NULL)
                event_free(ev);
            return -1;
        }
    }
    (void)curl_multi_assign(c->multi, fd, ev);
    return 0;
}

/* --- the interface --- */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode global_result;

static void global_init(void) {
    global_result = curl_global_init(CURL_GLOBAL_DEFAULT);
}

static bool is_plain_loopback(const char *url) {
    static const char v4[] = "http://127.", v6[] = "http://[::1]";
    if (strncmp(url, v6, sizeof v6 - 1) == 0)
        return strspn(url + sizeof v6 - 1, ":0123456789") == strlen(url + sizeof v6 - 1);
    return strncmp(url, v4, sizeof v4 - 1) == 0 &&
           strspn(url + sizeof v4 - 1, ".:0123456789") == strlen(url + sizeof v4 - 1);
}

enum vrs_err client_open(struct event_base *base, const struct client_options *o,
                         struct client **out, struct vrs_fault *fault) {
    enum vrs_err e = VRS_OK;
    struct client *c = calloc(1, sizeof *c);

    *out = NULL;
    (void)pthread_once(&once, global_init);
    if (c == NULL || global_result != CURLE_OK) {
        e = err_fail(fault, ERR_MEMORY, "client");
        goto out;
    }
    c->base = base;
    LIST_INIT(&c->active);
    LIST_INIT(&c->spare);
    c->max_reply_bytes = o->max_reply_bytes > 0 ? o->max_reply_bytes : DEFAULT_REPLY_BYTES;
    c->max_connections = o->max_connections > 0 ? (long)o->max_connections : DEFAULT_CONNECTIONS;
    c->plain = o->plain_loopback && is_plain_loopback(o->base_url);
    if (!c->plain && strncmp(o->base_url, "https://", 8) != 0) {
        e = err_fail(fault, ERR_CONFIG, "%s is not https", o->base_url);
        goto out;
    }
    if (!c->plain)
        e = pem_read(o->ca_file, &c->ca, fault);
    if (e == VRS_OK && o->cert_file != NULL)
        e = pem_read(o->cert_file, &c->cert, fault);
    if (e == VRS_OK && o->cert_file != NULL)
        e = pem_read(o->key_file, &c->key, fault);
    if (e != VRS_OK)
        goto out;
    c->base_url = strdup(o->base_url);
    c->multi = curl_multi_init();
    c->timer = event_new(base, -1, 0, on_timer_event, c);
    if (c->base_url == NULL || c->multi == NULL || c->timer == NULL ||
        curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket) != CURLM_OK ||
        curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c) != CURLM_OK ||
        curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_timer) != CURLM_OK ||
        curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c) != CURLM_OK ||
        curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, c->max_connections) != CURLM_OK ||
        curl_multi_setopt(c->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, c->max_connections) !=
            CURLM_OK) {
        e = err_fail(fault, ERR_MEMORY, "client");
        goto out;
    }
    *out = c;
    c = NULL;
out:
    if (c != NULL)
        destroy(c);
    return e;
}

void client_close(struct client **client) {
    struct client *c = *client;

    *client = NULL;
    if (c == NULL)
        return;
    if (c->reporting)
        c->closed = true; /* report_ended does it */
    else
        destroy(c);
}

enum vrs_err client_start(struct client *c, const struct client_call *call) {
    struct flight *f = LIST_FIRST(&c->spare);

    if (f != NULL) {
        LIST_REMOVE(f, link);
        c->spares--;
    } else {
        f = flight_new(c);
        if (f == NULL)
            return ERR_MEMORY;
    }
    buffer_init(&f->reply, c->max_reply_bytes);
    f->header_bytes = 0;
    f->retry_after_ms = -1;
    f->date[0] = '\0';
    f->done = call->done;
    f->arg = call->arg;
    LIST_INSERT_HEAD(&c->active, f, link);
    c->in_flight++;
    struct timeval wait = {.tv_sec = call->timeout_ms / 1000,
                           .tv_usec = call->timeout_ms % 1000 * 1000};
    if (!set_call(f, call) || event_add(f->deadline, &wait) != 0 ||
        curl_multi_add_handle(c->multi, f->easy) != CURLM_OK) {
        flight_land(f);
        return ERR_MEMORY;
    }
    return VRS_OK;
}

size_t client_in_flight(const struct client *c) {
    return c->in_flight;
}
