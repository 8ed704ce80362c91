#include "lib/admin.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/http.h"
#include "lib/metric.h"

enum { METRICS_MAX_BYTES = 1024 * 1024 };

static void on_health(struct http_request *rq) {
    const struct admin_options *o = http_arg(rq);
    char date[11], text[160];

    clock_format_date(clock_today_jst(), date);
    int n = snprintf(text, sizeof text, "{\"status\":\"ok\",\"program\":\"%s\",\"date\":\"%s\"}",
                     o->program, date);
    http_reply_json(rq, 200, text, (size_t)n);
}

static void on_ready(struct http_request *rq) {
    const struct admin_options *o = http_arg(rq);
    char why[64] = "starting", text[128];

    if (o->ready == NULL || o->ready(o->arg, why, sizeof why)) {
        http_reply_json(rq, 200, "{\"status\":\"ready\"}", strlen("{\"status\":\"ready\"}"));
        return;
    }
    for (char *p = why; *p != '\0'; p++) { /* nothing that JSON would have to escape */
        if (*p == '"' || *p == '\\' || (unsigned char)*p < 0x20)
            *p = '_';
    }
    int n = snprintf(text, sizeof text, "{\"status\":\"not_ready\",\"missing\":\"%s\"}", why);
    http_set_header(rq, "Retry-After", "1");
    http_reply_json(rq, 503, text, (size_t)n);
}

static void on_metrics(struct http_request *rq) {
    struct buffer b;

    buffer_init(&b, METRICS_MAX_BYTES);
    metric_write(&b);
    if (b.failed)
        http_problem(rq, ERR_MEMORY, NULL, NULL);
    else
        http_reply(rq, 200, "text/plain; version=0.0.4", b.data, b.len);
    buffer_fini(&b);
}

const struct route admin_routes[] = {
    {ROUTE_GET, "/healthz", NULL, ROUTE_NO_LOGIN, 0, on_health, "Whether the process lives"},
    {ROUTE_GET, "/readyz", NULL, ROUTE_NO_LOGIN, 0, on_ready, "Whether it can do its work"},
    {ROUTE_GET, "/metrics", NULL, ROUTE_NO_LOGIN, 0, on_metrics, "Counters, Prometheus text"},
    {0},
};

enum vrs_err admin_listen(struct http_server *s, const struct admin_options *o,
                          struct http_listener **out, struct vrs_fault *fault) {
    struct http_listener_options lo = {
        .name = "admin",
        .address = o->address != NULL ? o->address : "127.0.0.1",
        .port = o->port,
        .routes = admin_routes,
        .limits = {.body_bytes = 1024, .connections = 64},
        /* The options come back as void *; the handlers only read them. */
        .arg = (void *)(uintptr_t)o,
    };
    return http_listen(s, &lo, out, fault);
}
